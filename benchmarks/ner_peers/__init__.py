"""What the embedded default is measured against, and the load for both."""
