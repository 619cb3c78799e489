"""Recovery store: made where it is missing, purged of what a crash left half done."""

import contextlib
import fcntl
import json
import os
import pickle
import sqlite3
import tempfile
import time
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from bytewax.recovery import init_db_dir

from operators.errors import KnownError

PARTITIONS: Final = 1
_LOCK_SECONDS: Final = 5.0
_PAGE_BYTES: Final = 65_536
_OFFSET_BYTES: Final = 4_096

_held: dict[Path, int] = {}


class InUseError(KnownError):
    """Another process of this machine uses the recovery store."""


def hold(directory: Path) -> None:
    """Keep a recovery store for this process for as long as it lives.

    A process that was killed a moment ago is waited for. Raises InUseError.
    """
    where = directory.resolve()
    if where in _held:
        return
    file = os.open(where / "lock", os.O_CREAT | os.O_RDWR, 0o644)
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() > deadline:
                os.close(file)
                raise InUseError(
                    f"the recovery directory {directory} is in use: another copy of this flow "
                    "runs. Stop one of them"
                ) from None
            time.sleep(0.1)
        else:
            _held[where] = file
            return


def prepare(directory: Path) -> int:
    """Make a recovery store if there is none, and purge it; return how many rows went.

    Bytewax writes an epoch's snapshots before it marks the epoch as done. After a crash in
    between they stay, and a later resume could load them for a key that was not touched
    since. So rows at or past the epoch that a resume starts from are deleted; this needs all
    processes of the flow to be stopped. Raises InUseError if another copy of it runs.
    """
    directory.mkdir(parents=True, exist_ok=True)
    hold(directory)
    files = sorted(directory.glob("part-*.sqlite3"))
    if not files:
        _make(directory)
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


def set_aside(directory: Path) -> Path | None:
    """Put a recovery store's files into a new folder within it; return that, None without any.

    Within it, as it may be the root of a volume. This needs all processes of the flow to be
    stopped; the files are those of a store still. Raises InUseError if another copy of it runs.
    """
    files = sorted(directory.glob("part-*.sqlite3"))
    if not files:
        return None
    hold(directory)
    aside = directory / f"aside-{datetime.now(UTC):%Y-%m-%dT%H-%M-%S-%f}Z"
    aside.mkdir()
    for file in files:
        with contextlib.closing(sqlite3.connect(file)) as store:
            # Nothing may be left beside it that a new store of its name would take for its own.
            store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        for each in (file, *directory.glob(f"{file.name}-*")):
            each.rename(aside / each.name)
    return aside


def _make(directory: Path) -> None:
    """Make a store with pages of 64 KiB instead of 4.

    What is written at once is megabytes: so that takes a fourth of the time, with a fraction of
    the checkpoints of the log, which come every 1,000 pages.
    """
    # Elsewhere first: other processes may look meanwhile.
    with tempfile.TemporaryDirectory(dir=directory) as made:
        init_db_dir(Path(made), PARTITIONS)
        for file in Path(made).glob("part-*.sqlite3"):
            with contextlib.closing(sqlite3.connect(file)) as store:
                # A store with a write-ahead log keeps its page size.
                store.execute("PRAGMA journal_mode = DELETE")
                store.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
                store.execute("VACUUM")
                # Back to what Bytewax made: to change it on opening it needs the store alone,
                # and other processes may be looking.
                store.execute("PRAGMA journal_mode = WAL")
            file.rename(directory / file.name)


def known_partitions(directory: Path, topic: str) -> set[int]:
    """Return the partitions of a Kafka topic that a resume from this store goes on with.

    Any process of a flow may ask, also while another one makes or purges the store.
    """
    files = sorted(directory.glob("part-*.sqlite3"))
    resume = _resume_epoch(files)
    if resume is None:
        return set()
    keys: list[str] = []
    for file in files:
        store = sqlite3.connect(file)
        found = store.execute(
            "SELECT DISTINCT state_key FROM snaps WHERE snap_epoch < ?", (resume,)
        )
        keys += [key for (key,) in found]
        store.close()
    # Keys of other steps are there too: a table's is its name.
    return {
        int(part)
        for name, _, part in (key.rpartition("/") for key in keys)
        if name == topic and part.isdigit()
    }


def offsets(directory: Path, topic: str) -> dict[int, int | None]:
    """Return by partition of a Kafka topic the next offset that a resume from this store reads.

    None where the source had not been told yet where its partition begins.
    """
    files = sorted(directory.glob("part-*.sqlite3"))
    resume = _resume_epoch(files)
    found: dict[int, int | None] = {}
    for file in files if resume is not None else ():
        with contextlib.closing(sqlite3.connect(file)) as store:
            # Other steps have such keys too, with states that are large or no offset's.
            rows = store.execute(
                "SELECT state_key, ser_change, MAX(snap_epoch) FROM snaps "
                "WHERE snap_epoch < ? AND length(ser_change) < ? GROUP BY step_id, state_key",
                (resume, _OFFSET_BYTES),
            ).fetchall()
        for key, change, _ in rows:
            name, _, part = key.rpartition("/")
            if name == topic and part.isdigit():
                state = pickle.loads(change)  # noqa: S301 # as Bytewax is about to
                if isinstance(state, dict) and "offset" in state:
                    found[int(part)] = state["offset"]
    return found


def states(directory: Path, keys: Collection[str]) -> dict[str, dict[str, Any]]:
    """Return the states, by their keys, that a resume from this store begins with.

    To be asked for keys that one step alone has, as tables' names are. Nothing is made or
    changed by looking.
    """
    files = sorted(directory.glob("part-*.sqlite3"))
    resume = _resume_epoch(files)
    found: dict[str, dict[str, Any]] = {}
    for file in files if resume is not None and keys else ():
        where = f"{file.absolute().as_uri()}?mode=rw"
        with contextlib.closing(sqlite3.connect(where, uri=True)) as store:
            rows = store.execute(
                "SELECT state_key, ser_change, MAX(snap_epoch) FROM snaps "
                "WHERE snap_epoch < ? AND state_key IN (SELECT value FROM json_each(?)) "
                "GROUP BY state_key",
                (resume, json.dumps([*keys])),
            ).fetchall()
        for key, change, _ in rows:
            state = None if change is None else pickle.loads(change)  # noqa: S301 # as Bytewax does
            if isinstance(state, dict):
                found[key] = state
    return found


def in_use(directory: Path) -> bool:
    """Tell whether a process of this machine has the recovery store."""
    try:
        file = os.open(directory / "lock", os.O_RDONLY)
    except OSError:
        return False
    try:
        # Shared, and given back at once: who starts meanwhile waits for longer than that.
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(file)
    return False


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
