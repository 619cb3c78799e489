"""Schemas: from a Schema Registry, a folder, or this package."""
