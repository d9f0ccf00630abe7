"""All input: collectors read the host in parallel, within a budget. Nothing here judges."""
