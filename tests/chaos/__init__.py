"""The chaos bench: the payments flow under every fault, its tables compared whole.

``python -m tests.chaos`` runs it; `worker` is what it runs instead of ``bytewax.run``.
"""
