"""What a backup file is: its name, manifest, layout, encryption and checksum. How one is made: ops.backups."""
