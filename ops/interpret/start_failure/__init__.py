"""Find out from the logs why the service's last start failed, and how to fix that on this host. Pure.

This file imports nothing: every diagnosis needs `words`, but only the diagnosis of a failed start needs `reason` and
`advice`, and loading these would slow down a healthy run."""
