"""Admission of predictions: the gate, deadlines, and the errors of both."""
