"""Lists in rules: whether a column's value is on a list, of the text that silver has of it."""

import re
from typing import Final

LISTED: Final = "listed"
"""The column: items such as `block:stolen:card_id`, sorted, each once, with a space between."""

LIST_NAME: Final = r"^[a-z][a-z0-9_]{0,63}$"

_IN_LIST: Final = re.compile(
    r"'(?:[^']|'')*'|\b(\w+)\s+(NOT\s+)?IN\s+LIST\s+'([^']*)'", re.IGNORECASE
)


def with_lists(sql: str) -> str:
    """Return SQL with each `card_id IN LIST 'stolen'` said of the column `listed`.

    Raises ValueError for what cannot be a list's name.
    """
    return _IN_LIST.sub(_said, sql)


def looked_up(sql: str) -> set[str]:
    """Return the columns whose values SQL looks up in lists."""
    return {column.lower() for column, *_ in _IN_LIST.findall(sql) if column}


def _said(found: re.Match[str]) -> str:
    column, negated, name = found.groups()
    if column is None:
        return found[0]
    if not re.fullmatch(LIST_NAME, name):
        raise ValueError(f"{name!r} is no name of a list")
    # Whatever its kind is: names hold neither a colon nor a space.
    among = f"(strpos({LISTED} || ' ', ':{name}:{column.lower()} ') > 0)"
    return f"(NOT {among})" if negated else among
