"""Features: what each record looks like against its key's own past."""
