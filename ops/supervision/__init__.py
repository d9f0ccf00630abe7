"""The watchdog's rooms: what it sees, how it judges, which step it takes, what it remembers and whom it tells."""
