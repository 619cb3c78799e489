"""Bytewax operators around the pure core; no network."""
