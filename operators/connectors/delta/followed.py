"""Followed: a table that is looked at again and again, by what is new in its log alone."""

from deltalake import DeltaTable

from operators.connectors.delta.paths import table_uri
from operators.connectors.delta.table import reaching


class Followed:
    """A table under a root that may not be there yet."""

    def __init__(self, root: str, name: str) -> None:
        self._uri = table_uri(root, name)
        self.handle: DeltaTable | None = None
        """As of the last look, None where it was not there."""

    @property
    def version(self) -> int | None:
        """The table's version as of the last look, None where it was not there."""
        return None if self.handle is None else self.handle.version()

    def look(self) -> int | None:
        """Bring it up to date; return its version. Raises StorageUnavailableError."""
        with reaching(self._uri):
            handle, self.handle = self.handle, None
            if handle is not None:
                handle.update_incremental()
            elif DeltaTable.is_deltatable(self._uri):
                handle = DeltaTable(self._uri)
            # What could not be read is opened anew by the next look.
            self.handle = handle
        return self.version
