"""What docs/benchmarks.md quotes; ``python -m benchmarks`` runs it all."""

import os
from typing import Final

ENVIRON: Final = {
    name: value
    for name, value in os.environ.items()
    # Else every start compiles all of the code, as no installed one does.
    if not name.startswith(("MILLSTREAM_", "BYTEWAX_", "PYTHONDONTWRITEBYTECODE"))
}
"""The environment that flows are run in: without settings of flows, and as it was before imports.

Importing `flows` or Polars leaves choices for threads and memory in it, which are this tree's and
not those of the code that is run.
"""

import flows  # noqa: E402, F401 # one Polars thread, as in a worker
