"""Download a model while the service runs."""
