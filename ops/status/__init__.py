"""Status: how far each flow is, from its tables, topics, recovery store and metrics."""
