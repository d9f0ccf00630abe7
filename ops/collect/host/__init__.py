"""Facts about the machine and its installed software."""
