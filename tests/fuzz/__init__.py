"""Payloads that nobody meant to send: mutated by the million, and found by coverage."""
