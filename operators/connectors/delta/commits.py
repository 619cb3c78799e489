"""Commits: what each says of where its rows came from, and what a table's history tells.

A commit's `userMetadata`, which `DESCRIBE HISTORY` shows, is JSON: the release
(`millstream`), the `flow`, its `run` and the `epoch` of it, when the commit `began` (ms since
1970), how many `rows`, and the `fence`, by its transactions' ids, with where it stood `before` for
those that moved. It is the fence's second place: other engines' checkpoints may drop transactions.
"""

import json
import time
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final

from deltalake import CommitProperties, DeltaTable, Transaction

RESTORED: Final = "restored"
"""What a restoring commit says of the version that its table is as of."""

SLICE: Final = "slice"
"""What a slice's commit says of which that is of how many, as 0/3."""

_FIRST_LOOK: Final = 2


def properties(
    told: dict[str, Any],
    fence: Sequence[Transaction],
    before: Sequence[Transaction],
    known: Container[str] = (),
    *,
    blind: bool = False,
) -> CommitProperties:
    """Return what goes into a commit beside its rows: the fence, and the metadata `told`.

    What is `known` of the fence, by its ids, is not told again.

    One is `blind` that adds files and was made of none of the table's, whatever it has read of the
    fence: so Delta has it (`isBlindAppend` in `OptimisticTransaction.scala` of 4.1), and its
    `ConflictChecker.scala` lets what others change pass by it, where a table is isolated so. It
    takes no append for a blind one that does not say so.

    Transactions have the time as their last update: where
    `delta.setTransactionRetentionDuration` is set, Spark keeps no other.
    """
    was = {each.app_id: each.version for each in before}
    now = {each.app_id: each.version for each in fence}
    moved = {name: was[name] for name in now if name in was and was[name] != now[name]}
    at = int(time.time() * 1000)
    return CommitProperties(
        custom_metadata={
            **metadata(told | {"fence": now, "before": moved}),
            "isBlindAppend": blind,
        },
        app_transactions=[
            Transaction(name, version, at) for name, version in now.items() if name not in known
        ],
    )


def metadata(told: dict[str, Any]) -> dict[str, Any]:
    """Return a commit's custom metadata; `userMetadata` is what all engines show."""
    return {"userMetadata": json.dumps(told, separators=(",", ":"))}


def newest_fence(
    table: DeltaTable, flow: str, until: int | None = None
) -> dict[str, int] | None:
    """Return the fence that the newest commit of a flow tells, by its transactions' ids.

    A slice's commit tells its own partitions: those of the others are told by theirs before it.
    None if the log has no such commit any more. `table` is as it is now, also where only commits
    `until` a version count: the history of an older version's handle is that of the newest one.
    """
    found: dict[str, int] = {}
    slices: dict[str, set[str]] = {}
    for commit in _newest_first(table):
        if until is not None and commit["version"] > until:
            continue
        told = _told(commit)
        if told.get("flow") == flow and isinstance(told.get("fence"), dict):
            found = told["fence"] | found
            mine = str(told.get(SLICE, "0/1"))
            count = mine.partition("/")[2]
            slices.setdefault(count, set()).add(mine)
            if len(slices[count]) == int(count):
                break
    return found or None


def fences(table: DeltaTable, flow: str) -> Iterator[tuple[dict[str, int], dict[str, int]]]:
    """Yield, the newest first, the fences of a flow's commits of rows.

    Each with what moved as it was before, both by transactions' ids. Those that a restore has
    taken back are none.
    """
    until = None
    for commit in _newest_first(table):
        told = _told(commit)
        if until is not None and commit["version"] > until:
            continue
        if told.get("flow") == flow and RESTORED in told:
            until = int(told[RESTORED])
        if told.get("flow") == flow and told.get("rows") and isinstance(told["fence"], dict):
            yield dict(told["fence"]), dict(told.get("before") or {})


@dataclass(frozen=True)
class Commit:
    """A commit as a table's history has it.

    What is empty, or None, was not told: of a commit that is no flow's rows. `fence` is by its
    transactions' ids, and `before` has those that moved as they were.
    """

    version: int
    at: datetime
    operation: str
    engine: str
    flow: str = ""
    release: str = ""
    run: str = ""
    epoch: int | None = None
    rows: int | None = None
    fence: Mapping[str, int] = field(default_factory=dict)
    before: Mapping[str, int] = field(default_factory=dict)


def newest_commits(table: DeltaTable, count: int) -> list[Commit]:
    """Return a table's newest commits, the newest first, at most so many."""
    return [_commit(each) for each in table.history(count)]


def _commit(found: Mapping[str, Any]) -> Commit:
    told = _told(found)
    return Commit(
        int(found["version"]),
        _time_of(found),
        str(found.get("operation", "")),
        str(found.get("engineInfo", "")),
        str(told.get("flow", "")),
        str(told.get("millstream", "")),
        str(told.get("run", "")),
        told.get("epoch"),
        told.get("rows"),
        dict(told.get("fence") or {}),
        dict(told.get("before") or {}),
    )


@dataclass(frozen=True)
class Restored:
    """A restore: the version or time of the rows, and the fence's ids that no commit since tells.

    A time that an engine wrote without its zone is a string.
    """

    to: int | datetime | str
    untold: frozenset[str] = frozenset()


def restored(table: DeltaTable, ids: Iterable[str] = ()) -> Restored | None:
    """Return the restore that came after our newest rows, or those of one of the fence's ids.

    Slices of a flow commit each for itself, and one may have gone on behind a restore.
    """
    untold = frozenset(ids)
    for commit in _newest_first(table):
        if commit.get("operation") == "RESTORE":
            how = commit.get("operationParameters", {})
            if how.get("version") is not None:
                return Restored(int(how["version"]), untold)
            if how.get("datetime") is not None:
                at = datetime.fromtimestamp(int(how["datetime"]) / 1000, UTC)
                return Restored(at, untold)
            return Restored(str(how.get("timestamp", "an earlier time")), untold)
        if _is_ours(commit):
            told = _told(commit)
            # One that is no slice's tells of all there is, also of an earlier release.
            untold -= told["fence"].keys() if SLICE in told else untold
            if not untold:
                return None
    return None


def times_of_rows(table: DeltaTable, count: int) -> list[datetime]:
    """Return when the newest commits of a flow's rows were made, at most so many."""
    ours = (c for c in _newest_first(table) if _is_ours(c) and _told(c).get("rows") != 0)
    return [_time_of(commit) for commit in islice(ours, count)]


def made_at(table: DeltaTable, version: int) -> datetime | None:
    """Return when a version of a table was made, None if its log does not tell any more."""
    for commit in _newest_first(table):
        if commit["version"] <= version:
            there = commit["version"] == version
            return _time_of(commit) if there else None
    return None


def version_by(table: DeltaTable, at: datetime) -> int | None:
    """Return the newest version of a table that was there at a time, None if it was not yet.

    Raises LookupError if the log does not go back so far any more.
    """
    oldest = 0
    for commit in _newest_first(table):
        oldest = int(commit["version"])
        if _time_of(commit) <= at:
            return oldest
    if oldest:
        raise LookupError(f"its log begins with version {oldest}")
    return None


def _time_of(commit: Mapping[str, Any]) -> datetime:
    return datetime.fromtimestamp(commit["timestamp"] / 1000, UTC)


def _is_ours(commit: Mapping[str, Any]) -> bool:
    """Tell a flow's rows from those of others; earlier releases' commits tell nothing."""
    if commit.get("operation") != "WRITE":
        return False
    engine = str(commit.get("engineInfo", ""))
    told = _told(commit)
    return "fence" in told or ("userMetadata" not in commit and engine.startswith("delta-rs"))


def _told(commit: Mapping[str, Any]) -> dict[str, Any]:
    try:
        found = json.loads(commit.get("userMetadata") or "{}")
    except (TypeError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _newest_first(table: DeltaTable) -> Iterator[dict[str, Any]]:
    # Few at first: each is a file of its own.
    seen, limit = 0, _FIRST_LOOK
    while True:
        found = table.history(limit)
        yield from found[seen:]
        if len(found) < limit:
            return
        seen, limit = limit, limit * 10
