"""What stands where: pure readings of collected facts that collectors and judges share."""
