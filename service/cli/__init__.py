"""``gte-api``: start the service, and try its models."""
