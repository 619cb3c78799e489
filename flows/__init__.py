"""What runs: each module's `flow()` reads the settings and returns a Bytewax dataflow."""

import os

# Read by libraries when they are first imported. A worker is one process on about one core:
# a second thread costs more in hand-overs than it gives, and so does grouping by parts, which
# is meant for several threads.
os.environ.setdefault("POLARS_MAX_THREADS", "1")
os.environ.setdefault("POLARS_NO_PARTITION", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# What an epoch has allocated the next one needs again, so the allocator of Polars and deltalake
# keeps it, in large pages: zeroing fresh ones was a quarter of the CPU time, and with an arena for
# each few threads, all of which grow, still a tenth. Polars in a parent process leaves its own
# choice in the environment, and of two choices the later one counts.
_KEPT = "narenas:1,dirty_decay_ms:-1,muzzy_decay_ms:-1,background_thread:false,thp:always"
os.environ["_RJEM_MALLOC_CONF"] = ",".join(
    part for part in (os.environ.get("_RJEM_MALLOC_CONF"), _KEPT) if part
)
