"""Whose a recovery store is: its flow, the topics of its offsets, and what its states are of."""

import contextlib
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from operators.connectors.topic_identity import HOW_TO_GO_ON, TopicChangedError
from operators.errors import KnownError

_TABLE: Final = "millstream_owner"
_MAKE: Final = (
    f"CREATE TABLE IF NOT EXISTS {_TABLE} (name TEXT PRIMARY KEY, value TEXT NOT NULL)"
)
_FLOW: Final = "flow"
_SLICE: Final = "slice"
_WHOLE: Final = "0/1"
_TOPIC: Final = "topic:"
_STATE: Final = "state:"


class OtherOwnerError(KnownError):
    """The recovery directory is no store of this flow."""


def refuse_others(
    directory: Path,
    flow: str,
    topics: Mapping[str, str],
    *,
    slice_: str | None = None,
    grows: bool = False,
) -> None:
    """Refuse a recovery store of another flow, or of topics that are others by now.

    That of another slice of the flow is refused too, where `slice_` says which, as 0/3. A flow that
    `grows` may read more topics from now on, or fewer.

    `topics` are the flow's, each with its identity as of `topic_ids.identify`. A store that was
    made before stores knew their topics is told by its steps; which topics they were it takes up
    with `claim`. Raises OtherOwnerError and TopicChangedError.
    """
    for file in sorted(directory.glob("part-*.sqlite3")):
        try:
            with contextlib.closing(sqlite3.connect(file)) as store:
                known, steps = _known(store)
        except sqlite3.DatabaseError as error:
            raise OtherOwnerError(
                f"{file} is no recovery store ({error}): name another folder with -r"
            ) from error
        owner = known.get(_FLOW, next(iter({step.split(".")[0] for step in steps}), flow))
        if owner != flow:
            raise OtherOwnerError(
                f"the recovery directory {directory} is the {owner} flow's: give the {flow} flow "
                "another one with -r"
            )
        was = known.get(_SLICE, _WHOLE)
        if slice_ is not None and (known or steps) and was != slice_:
            raise OtherOwnerError(
                f"the recovery directory {directory} is of slice {was} of the {flow} flow, not of "
                f"{slice_}: name that of {slice_} with -r, or an empty one, for which the topic is "
                "read from its start and only what is missing is added"
            )
        before = {n.removeprefix(_TOPIC): v for n, v in known.items() if n.startswith(_TOPIC)}
        if before and not grows and before.keys() != topics.keys():
            raise TopicChangedError(
                f"the recovery directory {directory} was made with {_and(before)}, not with "
                f"{_and(topics)}. " + HOW_TO_GO_ON
            )
        for topic, then in before.items():
            now = topics.get(topic, then)
            if then != now and not (then.endswith("/") or now.endswith("/")):
                raise TopicChangedError(
                    f"the recovery directory {directory} was made with another topic {topic} (id "
                    f"{then} then, {now} now): that one was deleted and made anew, or these are "
                    "other brokers. " + HOW_TO_GO_ON
                )


def changed(
    directory: Path,
    definitions: Mapping[str, str],
    as_today: Callable[[Mapping[str, str]], Mapping[str, str]] = dict,
) -> dict[str, str | None]:
    """Return what a store's states are of that is another now, with what it was, by name.

    None stands for what is new; `as_today` reads what an earlier release has written. A store
    that was made before stores knew it has changed in nothing: it takes the `definitions` up with
    `claim`.
    """
    found: dict[str, str | None] = {}
    for file in sorted(directory.glob("part-*.sqlite3")):
        try:
            # Not to be made by looking: the first process may have put it aside meanwhile.
            where = f"{file.absolute().as_uri()}?mode=rw"
            with contextlib.closing(sqlite3.connect(where, uri=True)) as store:
                known, _ = _known(store)
        except sqlite3.OperationalError:
            if file.exists():
                raise
            continue
        then = {n.removeprefix(_STATE): v for n, v in known.items() if n.startswith(_STATE)}
        if then:
            then = dict(as_today(then))
            found |= {n: v for n, v in then.items() if definitions.get(n) != v}
            found |= dict.fromkeys(definitions.keys() - then.keys())
    return found


def claim(
    directory: Path,
    flow: str,
    topics: Mapping[str, str],
    definitions: Mapping[str, str] | None = None,
    slice_: str = _WHOLE,
) -> None:
    """Write into a recovery store whose it is, and what its states are of."""
    rows = [
        (_FLOW, flow),
        (_SLICE, slice_),
        *((_TOPIC + topic, identity) for topic, identity in topics.items()),
        *((_STATE + name, text) for name, text in (definitions or {}).items()),
    ]
    for file in sorted(directory.glob("part-*.sqlite3")):
        with contextlib.closing(sqlite3.connect(file)) as store, store:
            store.execute(_MAKE)
            store.execute(f"DELETE FROM {_TABLE} WHERE name LIKE '{_STATE}%'")  # noqa: S608 # our own
            store.executemany(f"INSERT OR REPLACE INTO {_TABLE} VALUES (?, ?)", rows)  # noqa: S608 # our own name


def owner(directory: Path) -> str | None:
    """Return the name of the flow whose a recovery store is, None where there is none.

    Raises OtherOwnerError of what is no recovery store.
    """
    for file in sorted(directory.glob("part-*.sqlite3")):
        try:
            # Not to be made by looking.
            where = f"{file.absolute().as_uri()}?mode=rw"
            with contextlib.closing(sqlite3.connect(where, uri=True)) as store:
                known, steps = _known(store)
        except sqlite3.DatabaseError as error:
            if not file.exists():
                continue
            raise OtherOwnerError(
                f"{file} is no recovery store ({error}): name another folder with -r"
            ) from error
        if _FLOW in known or steps:
            return known.get(_FLOW) or min(step.split(".")[0] for step in steps)
    return None


def _known(store: sqlite3.Connection) -> tuple[dict[str, str], set[str]]:
    """Return what a store says of its owner, and the ids of the steps that wrote to it."""
    steps = {step for (step,) in store.execute("SELECT DISTINCT step_id FROM snaps")}
    there = store.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (_TABLE,)).fetchone()
    if not there:
        return {}, steps
    return dict(store.execute(f"SELECT name, value FROM {_TABLE}")), steps  # noqa: S608 # our own name


def _and(topics: Mapping[str, str]) -> str:
    return f"topic {' and '.join(sorted(topics))}"
