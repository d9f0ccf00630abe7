"""The writers, one module a format: each takes any command's report and decides nothing."""
