"""Restoring a table: its rows and what it accounts for go back together."""

from datetime import datetime

from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError

from operators.connectors.delta import commits
from operators.connectors.delta.durability import sync_commit
from operators.connectors.delta.errors import reason
from operators.connectors.delta.maintenance import owned
from operators.connectors.delta.paths import table_uri
from operators.connectors.delta.table import reaching
from operators.errors import KnownError
from operators.records.tables import Table


class RestoreError(KnownError):
    """A table cannot be restored so that its flow goes on rightly."""


def restore(root: str, table: Table, flow: str, to: int | datetime, release: str) -> int:
    """Bring a table back to a version, or to what it was at a time; return that version.

    The flow, which must not run meanwhile, then finds that the table accounts for what it did
    then, and writes again what it has lost, once it starts with an empty recovery directory.
    Raises RestoreError where that could not be, OwnedError, and StorageUnavailableError.
    """
    uri = table_uri(root, table.name)
    with owned(root, table):
        with reaching(uri):
            handle, older = DeltaTable(uri), DeltaTable(uri)
        try:
            older.load_as_version(to)
        except (DeltaError, OSError, ValueError) as error:
            raise RestoreError(
                f"table {table.name} has no version {to} any more ({reason(error)}): millstream "
                "tables history shows what there is"
            ) from error
        version = older.version()
        if version == handle.version():
            raise RestoreError(f"table {table.name} is as of version {version} already")
        with reaching(uri):
            fence = _fence(handle, table, flow, version)
        told = {"millstream": release, "flow": flow, "fence": fence, commits.RESTORED: version}
        try:
            # Through the handle whose fence was read: a commit of the flow in between refuses.
            handle.restore(
                version,
                commit_properties=CommitProperties(
                    custom_metadata=commits.metadata(told),
                    app_transactions=[Transaction(name, at) for name, at in fence.items()],
                    max_commit_retries=0,
                ),
            )
        except CommitFailedError as error:
            raise RestoreError(
                f"table {table.name} was written to meanwhile; stop the {flow} flow first"
            ) from error
        except (DeltaError, OSError) as error:
            raise RestoreError(
                f"table {table.name} is not restored, as files of version {version} are gone "
                f"({reason(error)}); choose a later version"
            ) from error
        with reaching(uri):
            sync_commit(handle)
    return version


def _fence(handle: DeltaTable, table: Table, flow: str, version: int) -> dict[str, int]:
    """Return the fence of a version; refuse what could not be said by it."""
    now, then = commits.newest_fence(handle, flow), commits.newest_fence(handle, flow, version)
    if then is None or now is None:
        raise RestoreError(
            f"what table {table.name} accounted for at version {version} is not in its log: "
            "choose a version with rows of the flow, or move the table away, and the flow makes "
            "it anew"
        )
    lacking = sorted(now.keys() - then.keys())
    if lacking:
        # A transaction cannot be taken back.
        raise RestoreError(
            f"version {version} of table {table.name} is from before {', '.join(lacking)} came: "
            "choose a later version, or move the table away, and the flow makes it anew"
        )
    return then
