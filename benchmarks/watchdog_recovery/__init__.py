"""The same faults in the same service, mended in turn by gte-ops, monit, supervisor and gunicorn alone."""
