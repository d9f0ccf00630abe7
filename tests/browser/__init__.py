"""Pages as people see them: in Debian's Chromium, without a window."""
