"""Chat robots, one module a service."""
