"""The chaos bench: a declared stream's flow under every fault, its tables compared whole.

``python -m tests.chaos`` runs it; `worker` is what it runs instead of ``bytewax.run``.
"""
