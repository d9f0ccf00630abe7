"""Hostile input: one target for each parser of what somebody else wrote. See README.md."""
