"""The deployment's files: this host's values, rendering and installation."""
