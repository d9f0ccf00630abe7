"""Who is let in, and for how long: the gate, deadlines, refusals."""
