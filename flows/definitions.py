"""Definitions: what a flow's states are of, and what is done where that has changed."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final, Protocol

from flows.settings import Settings
from flows.streams import Stream
from operators.errors import KnownError
from operators.windows import Intake

_WINDOW: Final = "window "
_FEATURE: Final = "feature "
_GROUPS: Final = "key groups"


class StateChangedError(KnownError):
    """The recovery store's states are of other definitions, and tables cannot make them anew."""


def definitions(
    settings: Settings, *streams: Stream, own: Stream | None = None, grouped: bool = True
) -> dict[str, str]:
    """Return, by what it is, a text of each definition that states of a flow are of.

    Two texts are equal where a state of one is a state of the other. A flow has features of all
    `streams` that it reads, and windows of its `own`; some of what it keeps is `grouped` by key.
    A window's lateness is no part of it: it counts from the next record on.
    """
    found = {_GROUPS: str(settings.key_groups)} if grouped else {}
    for stream in streams:
        texts = stream.features.definitions.items()
        found |= {f"{_FEATURE}{name} of {stream.name}": text for name, text in texts}
    for name, each in own.windows.items() if own is not None else ():
        text = repr(replace(each, lateness=0))
        found[_WINDOW + name] = f"version {Intake.VERSION}: {text}"
    return found


class Tables(Protocol):
    """What the tables of a flow can do for its state."""

    def can_warm(self) -> bool:
        """Tell whether they can make it anew."""
        ...

    def has_rows(self, window: str) -> bool:
        """Tell whether that of a window has any."""
        ...


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
    what = "; ".join(sorted(_said(name, then, now.get(name)) for name, then in before.items()))
    same = [
        name.removeprefix(_WINDOW)
        for name, then in before.items()
        if name.startswith(_WINDOW) and then is not None and name in now
    ]
    for window in same:
        if tables.has_rows(window):
            raise StateChangedError(
                f"{what}. The table of window {window} has rows of the old definition: give the "
                "window another name, whose table is then filled from the beginning, or take the "
                "old definition back"
            )
    if not tables.can_warm():
        if all(name.startswith(_FEATURE) for name in before):
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


def _said(name: str, then: str | None, now: str | None) -> str:
    if then is None:
        return f"{name} is new"
    if now is None:
        return f"{name} is gone"
    if name == _GROUPS:
        return f"{name} were {then} and are {now}"
    return f"{name} is defined anew"
