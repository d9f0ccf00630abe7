"""Files and paths, whatever they are for: who may change one, and opening it so that it is the one that was meant."""
