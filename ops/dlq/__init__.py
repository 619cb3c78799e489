"""What became of bad records: the quarantine, told by kinds and explained record by record."""
