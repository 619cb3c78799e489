"""The quality of rules, counted anew of what the tables had then."""

from deltalake.exceptions import DeltaError

from operators.connectors.delta.errors import StorageUnavailableError
from ops.quality.count import QUALITY, counted, opened
from ops.quality.table import counted_of
from ops.verify.report import Check, only_once


def check_quality(root: str) -> list[Check]:
    """Compare the table of quality, if there is one, with what its sources make of it.

    These are looked at as they were when it was last brought up. Where a vacuum took that, nothing
    is compared.
    """
    found = counted_of(root)
    if found is None:
        return []
    rows, versions = found
    there = rows.drop("revision").filter(rows["hits"] > 0)
    name = f"{QUALITY.name} is what became of the payments that rules hit"
    try:
        made = counted(opened(root, versions))
    except (StorageUnavailableError, DeltaError):
        return [Check(name, 0, 0, [], rows.height, "of versions that a vacuum has taken")]
    return [only_once(name, made, there)]
