"""Enforced topics: any topics whose records are held to schemas and contracts, all as files."""
