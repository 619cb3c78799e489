"""Properties: what a table tells every engine of what to keep of it, and how to commit to it."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from operators.records.tables import Table

ISOLATION: Final = "delta.isolationLevel"


def kept_for(keep: timedelta) -> dict[str, str]:
    """Return the properties by which a table can be brought back for so long, and no longer.

    That a file is replaced is told for a day more, as nobody deletes it who is not told.
    """
    return {
        "delta.logRetentionDuration": _interval(keep),
        "delta.deletedFileRetentionDuration": _interval(keep + timedelta(days=1)),
    }


def isolated(table: Table, told: Mapping[str, str]) -> dict[str, str]:
    """Return the property by which others change rows of a table while its flow adds some.

    Nothing of a table whose flow changes rows itself, and where one is `told` already.

    With Delta's `WriteSerializable` a DELETE, UPDATE or MERGE that a blind append came in between
    is committed as if it had been first. Without it, open-source Delta goes by `Serializable` and
    refuses the statement (`DELTA_CONCURRENT_APPEND`); by a flow that commits faster than it runs,
    each time. Its SQL sets no other (`DeltaConfig.scala` of 4.1: "must be Serializable") but obeys
    what a table tells (`TransactionHelper.getDefaultIsolationLevel`); it is Databricks' default.
    deltalake 1.6.3 reads no level of this spelling and goes by `Serializable`, so that a deletion
    of ours looks again at what came in between.
    """
    if table.merging is not None or ISOLATION in told:
        return {}
    return {ISOLATION: "WriteSerializable"}


def _interval(time: timedelta) -> str:
    return f"interval {time // timedelta(hours=1)} hours"
