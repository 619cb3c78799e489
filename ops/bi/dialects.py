"""Dialects: the views as each engine wants them, by what sqlglot makes of DuckDB's."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from operators.connectors.delta.paths import local_folder, table_uri
from ops.bi.views import SCHEMA, SOURCES, Source, View, views

_REGISTERED: Final = "millstream"
"""The schema of what Trino has to be told of before it is read."""


class PlaceError(ValueError):
    """An engine can't read tables that lie there."""


@dataclass(frozen=True)
class Dialect:
    """An engine's SQL: what sqlglot calls it, and what is the engine's own.

    `before` comes once, and `register` for each table, by its name and place; `rows` is the table
    then, `utc` a time of it as UTC without a zone, `month` the first of a month; `ends` ends a
    statement.
    """

    sqlglot: str
    before: str
    rows: Callable[[str, str], str]
    utc: str
    month: str = "CAST(DATE_TRUNC('month', {}) AS DATE)"
    register: Callable[[str, str], str] | None = None
    replace: str = "CREATE OR REPLACE VIEW"
    ends: str = ";"

    def table(self, source: Source, place: str) -> str:
        """Return what makes the view of a table, with `CALENDAR`; raises PlaceError."""
        utc = self.utc.format(source.time)
        columns = ", ".join(source.columns)
        calendar = f"CAST({utc} AS DATE) AS day, {self.month.format(utc)} AS month"
        made = (
            f"{self.replace} {SCHEMA}.{source.name} AS\n"
            f"SELECT {columns}, {calendar}\nFROM {self.rows(source.name, place)}{self.ends}"
        )
        if self.register is not None:
            made = f"{self.register(source.name, place)}{self.ends}\n{made}"
        return made

    def view(self, view: View) -> str:
        """Return what makes a view, behind the comment that says what it is.

        Raises ImportError if it has to be translated, and sqlglot is not there.
        """
        made = f"CREATE OR REPLACE VIEW {SCHEMA}.{view.name} AS\n{view.sql}"
        if self.sqlglot != "duckdb":
            import sqlglot  # of the extra `bi`

            (made,) = sqlglot.transpile(
                made,
                read="duckdb",
                write=self.sqlglot,
                pretty=True,
                unsupported_level=sqlglot.ErrorLevel.RAISE,
            )
        return f"{view.comment}\n{made}{self.ends}"


def written(dialect: str, root: str) -> Iterator[tuple[str, str]]:
    """Yield the SQL of a dialect as texts, each with its name, in the order that they are run in.

    Raises PlaceError, and ImportError if sqlglot is needed and not there.
    """
    engine = DIALECTS[dialect]
    tables = (engine.table(each, table_uri(root, each.table.name)) for each in SOURCES.values())
    yield "00_tables", "\n\n".join([engine.before, *tables])
    for number, view in enumerate(views(), 1):
        yield f"{number:02}_{view.name}", engine.view(view)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _in_duckdb(_: str, place: str) -> str:
    folder = local_folder(place)
    return f"delta_scan({_quoted(place if folder is None else f'file://{folder}')})"


def _in_spark(_: str, place: str) -> str:
    return "delta.`" + place.replace("`", "``") + "`"


def _registered(name: str, place: str) -> str:
    if local_folder(place) is not None:
        raise PlaceError(
            f"Trino reads tables in an object store, not in {place}: name their root there "
            "with --root"
        )
    return (
        f"CALL system.register_table(schema_name => '{_REGISTERED}', "
        f"table_name => '{name}', table_location => {_quoted(place)})"
    )


def _in_synapse(_: str, place: str) -> str:
    url = urlsplit(place)
    container, _, host = url.netloc.partition("@")
    if url.scheme in ("abfs", "abfss") and host:
        place = f"https://{host}/{container}{url.path}"
    elif url.scheme != "https":
        raise PlaceError(
            f"Synapse reads tables in ADLS alone, not in {place}: name their root as "
            "abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/FOLDER with --root"
        )
    return f"OPENROWSET(BULK {_quoted(place + '/')}, FORMAT = 'DELTA') AS found"


DIALECTS: Final = {
    "duckdb": Dialect(
        "duckdb",
        f"INSTALL delta;\nLOAD delta;\nCREATE SCHEMA IF NOT EXISTS {SCHEMA};",
        _in_duckdb,
        "({} AT TIME ZONE 'UTC')",
    ),
    "spark": Dialect(
        "spark",
        f"CREATE SCHEMA IF NOT EXISTS {SCHEMA};",
        _in_spark,
        "TO_UTC_TIMESTAMP({}, CURRENT_TIMEZONE())",
    ),
    "trino": Dialect(
        "trino",
        "-- In a catalog of the Delta Lake connector with delta.register-table-procedure.enabled.\n"
        f"CREATE SCHEMA IF NOT EXISTS {_REGISTERED};\nCREATE SCHEMA IF NOT EXISTS {SCHEMA};",
        lambda name, _: f"{_REGISTERED}.{name}",
        "({} AT TIME ZONE 'UTC')",
        register=_registered,
    ),
    "synapse": Dialect(
        "tsql",
        "-- In a database with a collation of UTF-8, such as Latin1_General_100_BIN2_UTF8.\n"
        f"IF SCHEMA_ID('{SCHEMA}') IS NULL EXEC('CREATE SCHEMA {SCHEMA}')\nGO",
        _in_synapse,
        "{}",
        "DATEFROMPARTS(YEAR({0}), MONTH({0}), 1)",
        replace="CREATE OR ALTER VIEW",
        ends="\nGO",
    ),
}
"""By the names that users call them."""
