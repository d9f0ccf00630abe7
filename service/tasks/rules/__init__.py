"""Entities, relations and events by rule."""
