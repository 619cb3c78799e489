"""Schemas in files: checked, published, compared and drafted."""
