"""Chat bots, one module for each service."""
