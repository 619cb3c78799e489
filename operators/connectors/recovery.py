"""Recovery store: made where it is missing, purged of what a crash left half done."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bytewax.recovery import init_db_dir

PARTITIONS: Final = 1


def prepare(directory: Path) -> int:
    """Make a recovery store if there is none, and purge it; return how many rows went.

    Bytewax writes an epoch's snapshots before it marks the epoch as done. After a crash in
    between they stay, and a later resume could load them for a key that was not touched
    since. So rows at or past the epoch that a resume starts from are deleted; this needs all
    processes of the flow to be stopped.
    """
    directory.mkdir(parents=True, exist_ok=True)
    files = sorted(directory.glob("part-*.sqlite3"))
    if not files:
        init_db_dir(directory, PARTITIONS)
        return 0
    resume = _resume_epoch(files)
    if resume is None:
        return 0
    purged = 0
    for file in files:
        with sqlite3.connect(file) as store:
            purged += store.execute(
                "DELETE FROM snaps WHERE snap_epoch >= ?", (resume,)
            ).rowcount
        store.close()
    return purged


def _resume_epoch(files: Sequence[Path]) -> int | None:
    """Return the epoch that Bytewax will resume from, None before any execution.

    As Bytewax computes it: the smallest frontier among the workers of the newest execution,
    a worker without one counting as where that execution started.
    """
    executions: dict[int, tuple[int, int]] = {}
    fronts: dict[int, dict[int, int]] = {}
    for file in files:
        store = sqlite3.connect(file)
        for number, workers, start in store.execute(
            "SELECT ex_num, worker_count, resume_epoch FROM exs"
        ):
            executions[number] = workers, start
        for number, worker, frontier in store.execute(
            "SELECT ex_num, worker_index, worker_frontier FROM fronts"
        ):
            fronts.setdefault(number, {})[worker] = frontier
        store.close()
    if not executions:
        return None
    newest = max(executions)
    workers, start = executions[newest]
    known = fronts.get(newest, {})
    return min((known.get(worker, start) for worker in range(workers)), default=start)
