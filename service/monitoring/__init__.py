"""What the service reports about itself: metrics, memory, progress records."""
