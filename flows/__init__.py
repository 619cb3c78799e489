"""What runs: each module's `flow()` reads the settings and returns a Bytewax dataflow."""

import os

# Polars reads this when it is first imported. A worker is one process on about one core, and
# a second thread costs more in hand-overs than it gives (150 against 120 thousand events/s).
os.environ.setdefault("POLARS_MAX_THREADS", "1")
