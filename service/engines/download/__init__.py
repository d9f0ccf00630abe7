"""Fetching a model beside the service."""
