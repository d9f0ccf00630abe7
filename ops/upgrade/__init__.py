"""`gte-ops upgrade`: another version beside the present one, tried out, switched to, verified, or taken back."""
