"""Probes over the network: connections, TLS, HTTP, DNS."""
