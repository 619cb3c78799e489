"""Edits as a table: what records are to be instead, who changed them, and who has approved it."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import polars as pl

from flows import settings as settings_
from flows.privacy import guard_of
from flows.streams import Stream
from operators.avro.framing import ID_HEADER
from operators.connectors.delta.acts import AUDIT, EDITS
from operators.privacy import sealed
from operators.records.columns import KEY_ID
from ops.dlq.acts import Acts, new_name, who
from ops.dlq.quarantine import PLACE, QuarantineError
from ops.dlq.streams import named, needs_approval
from ops.sealed import decrypted

EDITED: Final = "edit"
UNDONE: Final = "undo"
APPROVED: Final = "approve"

_APP: Final = "millstream/edits"
_OF_RECORDS: Final = ("changes", "original", "value")


class Edits:
    """The edits of the tables under a root."""

    def __init__(self, root: str) -> None:
        self._acts = Acts(root)

    def all(self) -> pl.DataFrame:
        """Return every row, also those that others came behind."""
        return decrypted(self._acts.read(EDITS), _OF_RECORDS)

    def of(self, stream: str) -> pl.DataFrame:
        """Return the edits of a stream that count: a row per record, of `EDITS`."""
        rows = self.all().filter(stream=stream).sort("number")
        newest = rows.unique(PLACE, keep="last", maintain_order=True)
        return newest.filter(pl.col("value").is_not_null())

    def approved(self) -> set[str]:
        """Return the edits that somebody else than their editor has approved."""
        rows = self._acts.read(EDITS).select("edit", "who").unique("edit")
        editors = dict(rows.iter_rows())
        rows = self._acts.read(AUDIT).filter(action=APPROVED).select("edit", "who")
        return {edit for edit, by in rows.iter_rows() if by != editors.get(edit, by)}

    def save(
        self,
        stream: str,
        rows: pl.DataFrame,
        how: str | None,
        asked: Mapping[str, Any],
        why: str,
    ) -> str:
        """Save an edit of records; return its name.

        `rows` have coordinates, fingerprint, changes, original and value, which is null where what
        was edited is to be as it came. Raises QuarantineError if another is saved meanwhile.
        """
        handle, name = self._acts.opened(EDITS), new_name()
        whole = rows.with_columns(
            pl.lit(name).alias("edit"),
            pl.lit(self._acts.next_number(handle, _APP)).alias("number"),
            pl.lit(stream).alias("stream"),
            pl.lit(who()).alias("who"),
            pl.lit(datetime.now(UTC)).alias("at"),
            pl.lit(why).alias("why"),
            pl.lit(how, pl.String).alias("how"),
        )
        guard = guard_of(settings_.privacy_settings(), named(stream))
        if guard.seals("quarantine"):
            whole = sealed(whole, guard.ring.newest, _OF_RECORDS)
        else:
            whole = whole.with_columns(pl.lit(None, pl.String).alias(KEY_ID))
        action = UNDONE if rows["value"].null_count() == rows.height else EDITED
        self._acts.note(action, rows.height, asked, why, edit=name)
        self._acts.add(handle, EDITS, whole, _APP, "edit")
        return name

    def approve(self, edit: str, why: str | None) -> None:
        """Approve an edit of somebody else; raises QuarantineError if it is one's own."""
        rows = self.named(edit)
        if rows["who"][0] == who():
            raise QuarantineError(f"edit {edit} is yours: another user has to approve it")
        self._acts.note(APPROVED, rows.height, None, why, edit=edit)

    def named(self, edit: str) -> pl.DataFrame:
        """Return the rows of an edit; raises QuarantineError if there is none of that name."""
        rows = self.all().filter(edit=edit)
        if not rows.height:
            raise QuarantineError(
                f"there is no edit {edit}; list --where 'edit IS NOT NULL' has them"
            )
        return rows


def unapproved(stream: Stream, edits: Edits, found: pl.DataFrame) -> pl.Series:
    """Tell which rows, with the column `edit`, have one that waits for a second person."""
    edit = found["edit"]
    if not needs_approval(stream) or edit.null_count() == len(edit):
        return pl.repeat(value=False, n=len(edit), eager=True)
    return edit.is_not_null() & ~edit.is_in(list(edits.approved()))


def edited(rows: pl.DataFrame, edits: pl.DataFrame) -> pl.DataFrame:
    """Return records, with coordinates, value and headers, as edits with the same have them.

    Its schema's id stands before the body of an edited record, whatever its headers said.
    """
    mine = edits.select(*PLACE, pl.col("edit").alias("_edit"), pl.col("value").alias("_value"))
    found = rows.join(mine, on=PLACE, how="left", maintain_order="left")
    changed = pl.col("_edit").is_not_null()
    plain = pl.col("headers").list.eval(
        pl.element().filter(pl.element().struct.field("key") != ID_HEADER)
    )
    return found.with_columns(
        edit="_edit",
        value=pl.when(changed).then("_value").otherwise("value"),
        headers=pl.when(changed).then(plain).otherwise("headers"),
    ).drop("_edit", "_value")
