"""Making backups of this host, keeping them, and putting them back. What a backup file is: ops.archive."""
