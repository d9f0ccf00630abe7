"""The operations toolkit: it diagnoses, restores and keeps safe a gunicorn service behind nginx."""

__version__ = "0.2.0"
# gte_ops.py knows this package by it: another distribution on PyPI installs an `ops` too.
DISTRIBUTION = "gte-ops"
