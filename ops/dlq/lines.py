"""Rejects as lines, for people: nothing of what their records hold; and anything as JSON."""

import json
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ops.dlq.quarantine import PLACE

_TIME: Final = "%Y-%m-%d %H:%M:%S"
_NO_END: Final = 100_000


def show_groups(found: list[dict[str, Any]]) -> None:
    """Print a line for each kind."""
    # Of most quarantines nothing was edited or discarded.
    done = [name for name in ("edited", "discarded") if any(each[name] for each in found)]
    _print(
        ("count", "open", *done, "first", "last", "fingerprint", "stage", "code", "partitions",
         "newest", "message"),
        [
            (
                f"{each['count']:,}", f"{each['open']:,}",
                *(f"{each[name]:,}" for name in done),
                f"{each['first']:{_TIME}}", f"{each['last']:{_TIME}}",
                each["fingerprint"], each["stage"], each["code"], _ranges(each["partitions"]),
                each["sample"], each["message"],
            )
            for each in found
        ],
    )  # fmt: skip


def show_list(rows: list[dict[str, Any]]) -> None:
    """Print a line for each reject."""
    _print(
        ("attempts", "state", "time", "record", "fingerprint", "stage", "code", "message"),
        [
            (
                str(row["attempts"] or 1), _state(row), f"{row['time']:{_TIME}}",
                "/".join(str(row[name]) for name in PLACE), row["fingerprint"], row["stage"],
                row["code"], row["message"],
            )
            for row in rows
        ],
    )  # fmt: skip


def _state(row: dict[str, Any]) -> str:
    """Return what became of a reject, and what that is called."""
    act = {"replayed": "replay", "edited": "edit", "discarded": "discard"}.get(row["state"])
    if act is None:
        return str(row["state"])
    now = f" as {row['sent_as']}: {row['became']}" if row["sent_as"] else ""
    return f"{row['state']} by {row[act]}{now}"


def show_why(found: list[dict[str, Any]], releases: list[dict[str, Any]]) -> None:
    """Print what the rejects of a fingerprint have in common, and which releases wrote them."""
    for line in found:
        cells = [
            (name, "any" if line[name] is None else line[name])
            for name in ("stream", "stage", "code", "schema_id", "message")
        ]
        span = f"{line['first']:{_TIME}} to {line['last']:{_TIME}}"
        cells += [
            ("count", f"{line['count']:,}, {line['open']:,} open, {span}"),
            ("edited", f"{line['edited']:,}"),
            ("discarded", f"{line['discarded']:,}"),
            ("partitions", _ranges(line["partitions"])),
            ("newest", line["sample"]),
        ]
        cells += [
            (f"by {each['flow_version']}", f"{each['count']:,} from {each['first']:{_TIME}} on")
            for each in releases
            if each["stream"] == line["stream"]
        ]
        _print(("", ""), cells)


def _ranges(numbers: list[int]) -> str:
    """Return ascending numbers with what follows on each other put together: 0-2, 5."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1] = [runs[-1][0], number]
        else:
            runs.append([number])
    return ", ".join("-".join(map(str, run)) for run in runs)


def _print(names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(*names, box=None, pad_edge=False, show_header=any(names))
    for column in table.columns[:-1]:
        column.no_wrap = True
    if any(names):
        table.columns[0].justify = "right"
    for row in rows:
        # What a registry or a header tells may look like rich's markup.
        table.add_row(*(Text(printable(cell)) for cell in row))
    wide().print(table)


def wide() -> Console:
    """Return what prints to a terminal as wide as it is, and elsewhere whole lines."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else _NO_END)


def printable(text: str) -> str:
    """Return a text without what would steer a terminal."""
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)


def dump(found: Any) -> int:
    """Print what was found as JSON; return the exit code."""
    json.dump(found, sys.stdout, indent=2, default=_as_json)
    print()
    return 0


def _as_json(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value)} is not JSON")
