"""From facts to causes: the catalogue, the checks, and the engine that finds what explains what."""
