"""Errors of tables, each with what to do about it."""

import re
from typing import Final

from operators.errors import KnownError

_LONGEST: Final = 300
_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")
# Object stores' URLs may be signed.
_QUERY: Final = re.compile(r"(\w://[^\s?]+)\?\S+")
ANEW: Final = (
    "move this table away and delete the recovery directory: the flow then adds to "
    "each table only what it lacks, of silver or of the whole topic"
)
"""How a table is made anew; tests do as it says."""

_FEATURES: Final = re.compile(r"Unsupported table features required: \[([^\]]*)\]")


class FencedError(KnownError):
    """Another owner writes to the table, or it does not belong to this recovery store."""


class UnfitTableError(FencedError):
    """Someone has made of a table what this flow's rows can't be written to."""


class StorageUnavailableError(KnownError):
    """The table's storage refused several attempts."""


def reason(error: BaseException) -> str:
    """Return what an error of deltalake says in one line, without rows or signatures."""
    # It shows rows that break a constraint; what they hold is nobody's business here.
    text = str(error).split("Preview of invalid data")[0]
    text = " ".join(_QUERY.sub(r"\1?…", _COLOURS.sub("", text)).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def one_line(error: Exception) -> str:
    """Return what the engine says of SQL, without its colours and indents."""
    return " ".join(_COLOURS.sub("", str(error)).replace("↳", "").split())


def never_fits(table: str, error: BaseException) -> UnfitTableError | None:
    """Return what to raise of a commit that will fail as often as it is tried."""
    text = str(error)
    features = _FEATURES.search(text)
    if features:
        return UnfitTableError(
            f"table {table} has features that another engine turned on and this one cannot "
            f"write: {features[1]}. Turn them off there, with ALTER TABLE … DROP FEATURE, or, "
            f"where that is refused, {ANEW}"
        )
    if "failed validation check" in text or "violates" in text:
        return UnfitTableError(
            f"table {table} has a constraint that this flow's rows break: drop it, with "
            "ALTER TABLE … DROP CONSTRAINT or ALTER COLUMN … DROP NOT NULL"
        )
    return None
