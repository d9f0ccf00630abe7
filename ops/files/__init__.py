"""Files and paths: who may change one, and opening it without a race."""
