"""Logs of the service, the journal and the kernel."""
