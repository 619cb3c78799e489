"""The only code that talks to a network or a disk."""
