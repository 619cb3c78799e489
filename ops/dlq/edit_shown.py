"""Edits, for people: which field of which record changes, and what is to be done next."""

import json
from typing import Any, Final

from rich.table import Table
from rich.text import Text

from ops.dlq.lines import printable, wide

_MOST_TEXT: Final = 60


def show(told: dict[str, Any]) -> None:
    """Print what an edit did, or would do."""
    show_records(told["records"])
    for line in told["outcomes"]:
        print(f"{line['stream']}: {line['count']:,} {line['outcome']}")
    for saved in told["saved"]:
        also = f"; another user has to run dlq approve {saved['edit']} --save first"
        more = also if saved["needs_approval"] else ""
        print(f"edit {saved['edit']}: {saved['records']:,} saved, for replay{more}")
    if told["draft"]:
        print(f"what you wrote is in {told['draft']}: --as {told['draft']} goes on with it")


def show_approval(told: dict[str, Any]) -> None:
    """Print an edit that waits for approval, or has it."""
    show_records(told["records"])
    by = f"{told['who']} at {told['at']:%Y-%m-%d %H:%M:%S}"
    why = f"{printable(told['why'])} ({printable(told['how'] or '')})"
    print(f"edit {told['edit']} of {told['stream']} by {by}: {why}")
    print("approved" if told["approved"] else "not approved yet: --save does")


def show_records(found: list[dict[str, Any]]) -> None:
    """Print a line for each field that changes."""
    table = Table("record", "field", "before", "after", "outcome", box=None, pad_edge=False)
    for each_ in found:
        name, outcome = each_["record"], each_["outcome"] or ""
        for change in each_["changes"] or [{"field": ""}]:
            cells = name, change["field"], *(_value(change, n) for n in ("before", "after"))
            table.add_row(*(Text(printable(cell)) for cell in (*cells, outcome)))
            name = outcome = ""
    wide().print(table)


def _value(change: dict[str, Any], side: str) -> str:
    if side not in change:
        return ""
    text = json.dumps(change[side], ensure_ascii=False)
    return f"{text[:_MOST_TEXT]}…" if len(text) > _MOST_TEXT else text
