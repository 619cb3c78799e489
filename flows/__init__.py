"""What runs: each module's `flow()` reads the settings and returns a Bytewax dataflow."""

import os

# Read by libraries when they are first imported. A worker is one process on about one core:
# a second thread costs more in hand-overs than it gives. What an epoch has allocated the next
# one needs again, so Polars' allocator keeps it: zeroing fresh pages was a quarter of the CPU
# time, and large pages are a tenth of it more.
os.environ.setdefault("POLARS_MAX_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("_RJEM_MALLOC_CONF", "dirty_decay_ms:-1,muzzy_decay_ms:-1,thp:always")
