"""What the service says of itself: metrics, memory, progress records."""
