"""What flows are made of.

The modules here are pure: columns in, columns out, no engine and no network. `steps` wraps
them as Bytewax operators; `connectors` holds the only code that talks to a network or disk.
"""
