"""Engines forked from a process that holds the weights."""
