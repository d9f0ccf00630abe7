"""The deployment's files: this host's values, rendered and installed."""
