"""Cuts: up to which offsets retention has deleted a table's rows, as the table tells it."""

import json
from typing import Any, Final

from deltalake import DeltaTable

PROPERTY: Final = "millstream.retention"


def told_of(handle: DeltaTable) -> dict[str, Any]:
    """Return what the table tells; nothing where no rows were deleted."""
    found: dict[str, Any] = json.loads(handle.metadata().configuration.get(PROPERTY, "{}"))
    return found


def offsets_of(handle: DeltaTable) -> dict[str, dict[int, int]]:
    """Return by topic and partition the last offset that is gone."""
    return {
        topic: {int(partition): int(last) for partition, last in parts.items()}
        for topic, parts in told_of(handle).get("offsets", {}).items()
    }
