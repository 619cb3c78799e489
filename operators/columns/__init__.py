"""Columns: what batches are worked on with, in NumPy and Polars; knows nothing of streams."""
