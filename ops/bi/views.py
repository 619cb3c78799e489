"""Views over the tables of payments: what each says, and its SQL, written once.

A file of ``views/`` is one view in DuckDB's dialect. Its comment says what it is and what each
column means, with its unit; there are no other comments. ``{newest:TABLE}`` stands for the newest
revision of a table of windows, ``{amount:COLUMN}`` for minor units in units of their currency.
"""

import re
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Final

from flows.streams import PAYMENTS
from operators.records.tables import Table
from ops.currencies import THOUSANDTHS, WHOLE
from ops.newest import newest_rows

SCHEMA: Final = "bi"
FOLDER: Final = Path(__file__).parent / "views"
CALENDAR: Final = ("day", "month")
"""What `Source` adds to a table: a date, UTC, and the first of its month."""


@dataclass(frozen=True)
class Source:
    """A table that views read, its column that tells the day of a row, and what they see of it.

    That is all of it, if nothing is said in `seen`.
    """

    table: Table
    time: str
    seen: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What views call it, in `SCHEMA`."""
        return self.table.name.replace("/", "_")

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that views see."""
        return self.seen or tuple(self.table.columns)


SOURCES: Final = {
    each.name: each
    for each in (
        Source(PAYMENTS.window_table("terminal_day"), "window_start"),
        Source(PAYMENTS.window_table("customer_day"), "window_start"),
        Source(PAYMENTS.alerts, "event_time"),
        Source(PAYMENTS.data_quality, "minute"),
    )
}
"""The tables that views read, by the names that they call them; no key, no raw bytes among it."""


@dataclass(frozen=True)
class View:
    """A view: its name, what it is, what each of its columns means, and its SQL."""

    name: str
    about: str
    columns: dict[str, str]
    sql: str

    @property
    def comment(self) -> str:
        """The lines that say what it is and what its columns mean."""
        told = (f"{name}: {meaning}" for name, meaning in self.columns.items())
        return "\n".join(f"-- {line}" for line in [self.about, *told])

    @cached_property
    def reads(self) -> frozenset[str]:
        """The names of the tables that it reads, by way of other views too."""
        named = set(re.findall(rf"\b{SCHEMA}\.(\w+)", self.sql))
        through = (view.reads for view in views() if view.name in named)
        return frozenset(named & SOURCES.keys()).union(*through)


@cache
def views() -> tuple[View, ...]:
    """Return every view, each behind those that it reads."""
    return tuple(_view(path) for path in sorted(FOLDER.glob("*.sql")))


def _view(path: Path) -> View:
    lines = path.read_text("utf-8").splitlines()
    comment = [line[3:] for line in lines if line.startswith("-- ")]
    columns: dict[str, str] = {}
    about: list[str] = []
    for line in comment:
        column = re.match(r"([a-z_0-9]+): (.*)", line)
        if column:
            columns[column[1]] = column[2]
        else:
            about.append(line)
    sql = "\n".join(line for line in lines if not line.startswith("--"))
    sql = re.sub(r"\{newest:([\w/]+)\}", lambda found: _newest(found[1]), sql)
    sql = re.sub(r"\{amount:([\w.]+)\}", lambda found: _amount(found[1]), sql)
    return View(path.stem.partition("_")[2], " ".join(about), columns, sql)


def _newest(table: str) -> str:
    source = next(each for each in SOURCES.values() if each.table.name == table)
    columns = [*source.columns, *CALENDAR]
    return newest_rows(f"{SCHEMA}.{source.name}", columns, sessions=False)


def _amount(column: str) -> str:
    """Return SQL for minor units as units of the row's currency, exactly, as DECIMAL(38, 3)."""
    currency = f"{column.rpartition('.')[0]}.currency"
    cases = (
        f"WHEN {currency} IN ({', '.join(repr(each) for each in sorted(codes))}) "
        f"THEN CAST({unit} AS DECIMAL(4, 3)) "
        for codes, unit in ((WHOLE, 1), (THOUSANDTHS, 0.001))
    )
    unit = f"CASE {''.join(cases)}ELSE CAST(0.01 AS DECIMAL(4, 3)) END"
    # 30 digits and 4 make 34 or, as some count, 35: no engine has to round the product.
    return f"CAST(CAST({column} AS DECIMAL(30, 0)) * {unit} AS DECIMAL(38, 3))"
