"""The format of a backup file: its name, manifest, layout, encryption and checksum. ops.backups makes them."""
