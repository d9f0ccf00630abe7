"""The doctor's report: its lines, its document, what its page shows."""
