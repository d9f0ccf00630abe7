"""The baseline: the host's files and values from when the service was last healthy, and the changes since then."""
