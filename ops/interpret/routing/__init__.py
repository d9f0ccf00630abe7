"""Compute how nginx handles one request, from its configuration and by nginx's own rules. Pure: data in and out."""
