"""Open letters: how many rejects of a stream nobody has sent again nor put aside."""

from typing import Final

from deltalake import QueryBuilder

from operators.connectors.delta.acts import DISCARDS, REPLAYS
from operators.connectors.delta.followed import Followed
from operators.connectors.delta.layout import columns_of
from operators.connectors.delta.letters import told_rows
from operators.connectors.delta.reading import collected
from operators.connectors.delta.table import reaching
from operators.records.tables import Table

_OPEN: Final = """SELECT code, count(*) AS open FROM ({rows})
WHERE replay IS NULL AND discard IS NULL GROUP BY code"""


class OpenLetters:
    """Counts the rejects of a stream that were neither sent again nor put aside.

    As the tables have them: whoever changes what became of one, and whatever retention deletes,
    the next count has it.
    """

    def __init__(self, root: str, stream: str, quarantine: Table) -> None:
        self.stream = stream
        self._tables = {
            name: Followed(root, table)
            for name, table in (
                ("", quarantine.name), ("replay", REPLAYS.name), ("discard", DISCARDS.name)
            )
        }  # fmt: skip
        self._seen: dict[str, int | None] | None = None

    def changed(self) -> bool:
        """Bring the tables up to date; tell whether there is anything new in them.

        Raises StorageUnavailableError.
        """
        return {name: table.look() for name, table in self._tables.items()} != self._seen

    def count(self) -> dict[str, int]:
        """Return how many are open, by code; none is 0 of a code that no row has.

        Raises StorageUnavailableError.
        """
        handles = {name: table.handle for name, table in self._tables.items()}
        seen = {name: table.version for name, table in self._tables.items()}
        written = handles.pop("")
        found: dict[str, int] = {}
        if written is not None:
            there = {name: each for name, each in handles.items() if each is not None}
            engine = QueryBuilder().register("written", written)
            for name, each in there.items():
                engine = engine.register(f"acts_{name}", each)
            rows = told_rows(self.stream, columns_of(written), there)
            with reaching(written.table_uri):
                counts = collected(engine, _OPEN.format(rows=rows))
            found = {str(code): int(count) for code, count in counts.iter_rows()}
        self._seen = seen
        return found
