"""Compaction, vacuum and checkpoints of every table while the flow writes to it."""

import random
import threading
from collections import Counter
from typing import Self

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from flows.streams import Stream
from operators.connectors.delta.control_history import CONTROL
from operators.connectors.delta.table import table_uri


class Maintenance:
    """The one owner of maintenance of a stream's tables under a root, on a thread of its own.

    Those of its labels and its changes are among them.
    """

    def __init__(self, stream: Stream, root: str, seed: int, pause: float = 0.2) -> None:
        labels = stream.labelled.all_tables if stream.labelled else []
        self._tables = [table.name for table in (*stream.all_tables, *labels, CONTROL)]
        self.done: Counter[str] = Counter()
        self._root, self._luck, self._pause = root, random.Random(seed), pause
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._stop.wait(self._pause):
            name = self._luck.choice(self._tables)
            what = self._luck.choice(("compact", "vacuum", "checkpoint"))
            try:
                table = DeltaTable(table_uri(self._root, name))
                if what == "compact":
                    table.optimize.compact()
                elif what == "vacuum":
                    # No mercy: every file that is no longer part of the table.
                    table.vacuum(0, dry_run=False, enforce_retention_duration=False)
                else:
                    table.create_checkpoint()
                self.done[what] += 1
            except TableNotFoundError:
                continue
            except (DeltaError, OSError):
                self.done["refused"] += 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
