"""Every certificate of the host, judged: the use case behind cert check."""
