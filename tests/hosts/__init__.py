"""Real Debian hosts with systemd as process 1, and what is proven on them. README.md tells how they are made."""
