"""What the kernel says of processes."""
