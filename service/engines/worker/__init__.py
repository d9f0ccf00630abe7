"""Serves requests with an engine process: the queue, and the loop that replaces a lost engine, for every engine."""
