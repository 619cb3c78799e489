"""What runs: each module's `flow()` reads the settings and returns a Bytewax dataflow."""

import gc
import os

# Read by libraries when they are first imported. A worker is one process on about one core:
# a second thread costs more in hand-overs than it gives, and so does grouping by parts, which
# is meant for several threads.
os.environ.setdefault("POLARS_MAX_THREADS", "1")
os.environ.setdefault("POLARS_NO_PARTITION", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Pydantic looks for plugins in the metadata of every package that is installed.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")

# Imports make a hundred thousand objects that stay, as does a batch of what goes without cycles:
# looking for garbage at every 700 of them took an eighth of the start.
gc.set_threshold(200_000, 20, 20)

# What an epoch has allocated the next one needs again, so the allocator of Polars and deltalake
# keeps it, in large pages: zeroing fresh ones was a quarter of the CPU time, and with an arena for
# each few threads, all of which grow, still a tenth. Polars in a parent process leaves its own
# choice in the environment, and of two choices the later one counts.
_KEPT = "narenas:1,dirty_decay_ms:-1,muzzy_decay_ms:-1,background_thread:false,thp:always"
os.environ["_RJEM_MALLOC_CONF"] = ",".join(
    part for part in (os.environ.get("_RJEM_MALLOC_CONF"), _KEPT) if part
)
