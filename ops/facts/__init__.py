"""What was observed, as plain data."""
