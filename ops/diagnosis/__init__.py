"""Turn facts into causes: the catalogue, the checks, and the engine."""
