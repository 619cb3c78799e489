"""Decisions, as people ask about them."""
