"""The operations toolkit: it diagnoses, restores and keeps safe a gunicorn service behind nginx."""

__version__ = "0.1.0"
