"""All input: what touches the host, side by side and within a budget. Nothing here judges."""
