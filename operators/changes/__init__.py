"""Changes of rows, as databases tell them, and the tables that they come to."""

from operators.changes.contract import check_rows
from operators.changes.decode import ChangeDecoder
from operators.changes.merging import Current, History, merging
from operators.changes.spec import DELETED, SEQUENCE, Changes

__all__ = [
    "DELETED",
    "SEQUENCE",
    "ChangeDecoder",
    "Changes",
    "Current",
    "History",
    "check_rows",
    "merging",
]
