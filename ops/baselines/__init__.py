"""The baseline: the host's files and values as they were while the service was last healthy, and what differs now."""
