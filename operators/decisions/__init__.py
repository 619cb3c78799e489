"""Decisions: approve, review or block, of what lists, rules and a model say of an event."""
