"""`doctor --fix`: planning (pure), grounds and applying (all its input and output), the record of what was done."""
