"""Definitions: what a flow's states are of, and what is done where that has changed."""

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Protocol

from flows.settings import Settings
from flows.streams import Stream
from flows.tables import CHANGES, LATENESS, LOOKUP, WITHIN
from operators.columns.durations import micros
from operators.connectors.delta.defining import RedefinedError, refuse_redefined
from operators.errors import KnownError
from operators.records.tables import Table
from operators.windows import Intake

_WINDOW: Final = "window "
_AGGREGATE: Final = "aggregate "
_FEATURE: Final = "feature "
_BY_ANOTHER: Final = " by another key of "
_GROUPS: Final = "key groups"
_OF_TOPICS: Final = {LATENESS, WITHIN, LOOKUP}
_SILVER_ALONE: Final = "a backfill of silver alone"
_BEHIND: Final = {
    "window": "whose table is then filled from the beginning",
    "aggregate": "which the rows from then on have",
}


class StateChangedError(KnownError):
    """The recovery store's states are of other definitions, and tables cannot make them anew."""


def definitions(
    settings: Settings,
    *streams: Stream,
    own: Stream | None = None,
    grouped: bool = True,
    lookups: str | None = None,
) -> dict[str, str]:
    """Return, by what it is, a text of each definition that states of a flow are of.

    Two texts are equal where a state of one is a state of the other. A flow has features of all
    `streams` that it reads, and windows of its `own`; some of what it keeps is `grouped` by key.
    `lookups` are what it looks up, if it does.
    """
    grouped = grouped or any(stream.features.questions for stream in streams)
    found = {_GROUPS: str(settings.key_groups)} if grouped else {}
    for stream in streams:
        others = {each.name for each in stream.features.by_another}
        for name, text in stream.features.definitions.items():
            of = _BY_ANOTHER if name in others else " of "
            found[f"{_FEATURE}{name}{of}{stream.name}"] = text
    for name, each in own.windows.items() if own is not None else ():
        text = repr(replace(each, lateness=0, aggregates={}))
        found[_WINDOW + name] = f"version {Intake.VERSION}: {text}"
        for column, aggregate in each.aggregates.items():
            found[f"{_AGGREGATE}{column} of {_WINDOW}{name}"] = repr(aggregate)
    if lookups is not None:
        found[LOOKUP] = lookups
    if settings.backfill_silver_alone:
        found[_SILVER_ALONE] = "1"
    if own is not None and own.windows:
        found[LATENESS] = str(micros(settings.of(own).allowed_lateness))
    return found


def as_today(known: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
    """Return what a store of an earlier release knows as this one would have written it.

    That had one text for a window with its aggregates, and none for the lateness.
    """
    found = dict(known)
    for name, text in known.items():
        if name.startswith(_WINDOW) and ", aggregates={}" not in text:
            version, _, made = text.partition(": ")
            for each in _keywords(made):
                if each.arg == "aggregates" and isinstance(each.value, ast.Dict):
                    source = ast.get_source_segment(made, each.value) or ""
                    found[name] = f"{version}: {made.replace(source, '{}')}"
                    for key, value in zip(each.value.keys, each.value.values, strict=True):
                        if isinstance(key, ast.Constant) and isinstance(key.value, str):
                            found[f"{_AGGREGATE}{key.value} of {name}"] = (
                                ast.get_source_segment(made, value) or ""
                            )
    if LATENESS in now and found:
        found.setdefault(LATENESS, now[LATENESS])
    return found


def _keywords(text: str) -> list[ast.keyword]:
    try:
        made = ast.parse(text, mode="eval").body
    except SyntaxError:
        return []
    return made.keywords if isinstance(made, ast.Call) else []


class Tables(Protocol):
    """What the tables of a flow can do for its state."""

    def can_warm(self) -> bool:
        """Tell whether they can make it anew."""
        ...

    def has_rows(self, window: str) -> bool:
        """Tell whether that of a window has any."""
        ...


def refuse_two_kinds_of_rows(root: str, tables: Sequence[Table]) -> None:
    """Raise StateChangedError where tables would get rows of a second kind."""
    try:
        refuse_redefined(root, tables)
    except RedefinedError as error:
        changed = error.changed
    else:
        return
    lines = []
    anew = sorted(table for table, names in changed.items() if {*names} <= _OF_TOPICS)
    if anew:
        what = " and ".join(sorted({name for table in anew for name in changed[table]}))
        joined = any({WITHIN, LOOKUP} & each.fixed.keys() for each in tables)
        where = "the recovery directory away, and start: they are filled again from the topics"
        lines.append(
            f"the {what} of the tables {', '.join(anew)} was another: move these tables "
            + (
                f"and {where}"
                if joined
                else "away, and start: they are filled again from silver"
            )
            + "; or take the old one back"
        )
    merged = sorted(table for table, names in changed.items() if CHANGES in names)
    if merged:
        lines.append(
            f"the rows of {' and '.join(merged)} are of changes that were declared otherwise: move "
            "these tables and the recovery directory away, and start: they are filled again, of "
            "silver or of the topic; or take the old declaration back"
        )
    for table in sorted(changed.keys() - {*anew, *merged}):
        kinds = {name.partition(" ")[0] for name in changed[table]} - _OF_TOPICS
        kind = max(kinds)
        lines.append(
            f"table {table} has rows of another definition ({', '.join(changed[table])}): give the "
            f"{kind} another name, {_BEHIND[kind]}, or take the old one back"
        )
    raise StateChangedError("; ".join(lines))


def refuse_or_set_aside(
    flow: str,
    before: Mapping[str, str | None],
    now: Mapping[str, str],
    tables: Tables,
    set_aside: Callable[[], Path | None],
) -> str | None:
    """Set a store aside whose states are of other definitions; return the line that says so.

    None where it is gone on with: what is kept of features tells itself what it lacks.

    `before` are those that have changed as they were. Raises StateChangedError.
    """
    said = {name: _said(name, then, now.get(name)) for name, then in before.items()}
    what = "; ".join(
        sorted(line for name, line in said.items() if not _told(name, before, now))
    )
    for name, then in before.items():
        window = name.rpartition(_WINDOW)[2]
        of_window = name.startswith((_WINDOW, _AGGREGATE))
        if of_window and then is not None and name in now and tables.has_rows(window):
            kind = name.partition(" ")[0]
            raise StateChangedError(
                f"{what}. The table of window {window} has rows of the old definition: give the "
                f"{kind} another name, {_BEHIND[kind]}, or take the old definition back"
            )
    if not tables.can_warm():
        # Only a state that has had features tells what it lacks, and only one that still has. What
        # is held for features by another key is nowhere else.
        had = not any(_BY_ANOTHER in name for name in before) and any(
            n.startswith(_FEATURE) and before.get(n, "") is not None for n in now
        )
        if had and all(name.startswith(_FEATURE) for name in before):
            return None
        raise StateChangedError(
            f"{what}: the state in the recovery directory is of the old definition, and no tables "
            f"of the {flow} flow can make it anew. Start with an empty recovery directory: it then "
            "reads the topic from the start and adds only what is missing; or take the old "
            "definition back"
        )
    aside = set_aside()
    return f"{what}: state is made anew" + (
        "" if aside is None else f", and the recovery store of before is kept in {aside}"
    )


def _told(name: str, before: Mapping[str, str | None], now: Mapping[str, str]) -> bool:
    """Tell whether an aggregate is new or gone with its window."""
    window = _WINDOW + name.rpartition(_WINDOW)[2]
    whole = window in before and (before[window] is None or window not in now)
    return name.startswith(_AGGREGATE) and whole


def _said(name: str, then: str | None, now: str | None) -> str:
    if then is None:
        return f"{name} is new"
    if now is None:
        return f"{name} is gone"
    if name == _GROUPS:
        return f"{name} were {then} and are {now}"
    return f"{name} is defined anew"
