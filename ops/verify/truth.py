"""The truth: what a simulation says of the records that it has sent."""

from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

from ops.verify.forgotten import Forgotten
from ops.verify.report import Check, only_once


class TruthError(ValueError):
    """A file is not what a simulation wrote."""


def read_truth(path: Path) -> pl.DataFrame:
    """Return what a simulation wrote beside the records of a stream; raises TruthError."""
    try:
        return pl.read_parquet(path, columns=["stream", "partition", "sequence", "place"])
    except PolarsError:
        raise TruthError(f"{path} is not what millstream simulate --truth writes") from None


def check_truth(truth: pl.DataFrame, placed: pl.DataFrame, gone: Forgotten) -> Check:
    """Compare where records are with where the simulation meant them to be, but what is `gone`."""
    expected = truth.select(
        pl.col("partition").cast(pl.Int32).alias("source_partition"),
        pl.col("sequence").cast(pl.Int64).alias("source_offset"),
        "place",
    )
    name = "every record is where the simulation's truth has it"
    return only_once(name, gone.without(expected), placed)
