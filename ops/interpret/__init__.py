"""Pure functions that interpret collected facts, for collectors and checks."""
