"""Engines forked from a process that has loaded the weights."""
