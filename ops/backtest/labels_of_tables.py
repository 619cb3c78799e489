"""Labels of tables: what labels say of payments, and of others the chargebacks flow."""

from datetime import datetime

import numpy as np
import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from flows.streams import CHARGEBACKS, Stream
from operators.columns.arrays import Bools, Int64s
from operators.columns.grouping import differs
from operators.columns.times import in_micros
from operators.connectors.delta.commits import version_by
from operators.connectors.delta.paths import table_uri
from operators.connectors.delta.reading import read
from ops.backtest.labels import DAY, Labels, LabelsError


def _instead(name: str, newest: int) -> str:
    if name != CHARGEBACKS.silver.name:
        return "leave --version out, or name its labels with --labels"
    return f"--labels-version names a version of it, up to {newest}"


def labels_of_tables(
    root: str, stream: Stream, version: int | None = None, by: datetime | None = None
) -> Labels | None:
    """Return what is known of payments by tables; None if none is there, or was `by` a time.

    Of a payment's labels the newest counts, as flows have read them, by when it became known; what
    no label is of is a fraud if it was charged back for a reason that is one (`fraud`), known on
    the day of the chargeback. The tables are as they were `by` a time, or are now; `version` is
    one of the chargebacks'. Raises LabelsError for a version that is not there any more.
    """
    found = [
        each
        for each in (_said(root, stream, by), _charged(root, version, by))
        if each is not None
    ]
    if not found:
        return None
    sources = ", else ".join(source for source, _ in found)
    rows = pl.concat(rows for _, rows in found).unique("id", keep="first", maintain_order=True)
    fraud: Bools = rows["fraud"].to_numpy()
    known: Int64s = rows["known"].to_numpy()
    return Labels.of(sources, rows["id"], fraud, known)


def _said(root: str, stream: Stream, by: datetime | None) -> tuple[str, pl.DataFrame] | None:
    """Return what labels say: where from, and the id, whether it is a fraud, and the day."""
    if stream.labelled is None:
        return None
    labels = stream.labelled
    table = _as_of(root, labels.silver.name, None, by)
    if table is None:
        return None
    key = labels.key
    place = ["source_partition", "source_offset"]
    names = [key, "event_time", "verdict", *place]
    rows = read(table, {name: labels.columns[name] for name in names})
    rows = rows.sort(key, "event_time", *place)
    if rows.height:
        fraud = (rows["verdict"] == "FRAUD").to_numpy()
        begins = differs(rows[key].to_physical().rle_id().to_numpy())
        runs = begins | differs(fraud)
        # What the newest says is known since the first of those that say so, none between.
        starts = np.flatnonzero(runs)
        ends = np.append(np.flatnonzero(begins)[1:], len(fraud)) - 1
        at = starts[np.searchsorted(starts, ends, "right") - 1]
        rows = rows[at]
    found = rows.select(
        pl.col(key).alias("id"), pl.col("verdict") == "FRAUD", known="event_time"
    )
    return _told(table, labels.silver.name, found.rename({"verdict": "fraud"}))


def _charged(
    root: str, version: int | None, by: datetime | None
) -> tuple[str, pl.DataFrame] | None:
    """Return what the chargebacks flow's table says, as `_said` does."""
    name = CHARGEBACKS.silver.name
    table = _as_of(root, name, version, by)
    if table is None:
        return None
    names = ("payment_id", "event_time", "fraud")
    rows = read(table, {name: CHARGEBACKS.columns[name] for name in names})
    rows = rows.with_columns(pl.col("fraud").fill_null(value=False))
    # Of several the fraud that was known first.
    rows = rows.sort(pl.col("fraud").not_(), "event_time").rename(
        {"payment_id": "id", "event_time": "known"}
    )
    return _told(table, name, rows.unique("id", keep="first", maintain_order=True))


def _told(table: DeltaTable, name: str, rows: pl.DataFrame) -> tuple[str, pl.DataFrame]:
    known = in_micros(rows["known"]) // DAY
    source = f"{name} at version {table.version()}"
    if len(known):
        source += f", the last of {np.datetime64(int(known.max()), 'D')}"
    return source, rows.select("id", "fraud").with_columns(
        known=pl.Series(known, dtype=pl.Int64)
    )


def _as_of(root: str, name: str, version: int | None, by: datetime | None) -> DeltaTable | None:
    """Return a table at a version, else as of a time, else as it is; None if it was not there."""
    uri = table_uri(root, name)
    if not DeltaTable.is_deltatable(uri):
        return None
    table = DeltaTable(uri)
    newest = table.version()
    if version is None and by is not None:
        try:
            version = version_by(table, by)
        except LookupError as error:
            raise LabelsError(
                f"{name} cannot be read as of {by:%Y-%m-%d %H:%M:%S} UTC, when silver had that "
                f"version ({error}): {_instead(name, newest)}"
            ) from None
        if version is None:
            return None
    if version is not None:
        if not 0 <= version <= newest:
            raise LabelsError(f"--labels-version {version}: {name} has versions 0 to {newest}")
        try:
            table.load_as_version(version)
        except DeltaError as error:
            raise LabelsError(
                f"{name} cannot be read at version {version}: name a later one with "
                f"--labels-version, up to {newest}: {error}"
            ) from None
    return table
