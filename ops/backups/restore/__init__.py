"""Restore: planned, staged, exchanged, validated, and rolled back where it does not hold."""
