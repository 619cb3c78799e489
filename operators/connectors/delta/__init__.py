"""Delta: the sink of tables, its fences, and what is read of tables."""
