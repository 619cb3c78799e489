"""Redis: the memory of ids that were seen."""
