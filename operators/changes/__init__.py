"""Changes of rows, as databases tell them, and the tables that they come to."""

from operators.changes.contract import check_rows
from operators.changes.decode import ChangeDecoder
from operators.changes.merging import CHANGED, MADE, Current, History, merging
from operators.changes.spec import DELETED, EVENT_TIME, SEQUENCE, Changes

__all__ = [
    "CHANGED",
    "DELETED",
    "EVENT_TIME",
    "MADE",
    "SEQUENCE",
    "ChangeDecoder",
    "Changes",
    "Current",
    "History",
    "check_rows",
    "merging",
]
