"""What answers over the network: connections, TLS, HTTP, DNS."""
