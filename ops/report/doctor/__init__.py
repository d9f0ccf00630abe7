"""The doctor's report, one module a format."""
