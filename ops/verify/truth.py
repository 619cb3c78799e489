"""The truth: what a simulation says of the records that it has sent."""

from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

from ops.verify.report import Check, only_once


class TruthError(ValueError):
    """A file is not what a simulation wrote."""


def read_truth(path: Path) -> pl.DataFrame:
    """Return what a simulation wrote beside the records of a stream; raises TruthError."""
    try:
        return pl.read_parquet(path, columns=["stream", "partition", "sequence", "place"])
    except PolarsError:
        raise TruthError(f"{path} is not what millstream simulate --truth writes") from None


def check_truth(truth: pl.DataFrame, placed: pl.DataFrame) -> Check:
    """Compare where records are with where the simulation meant them to be."""
    expected = truth.select(
        pl.col("partition").cast(pl.Int32).alias("source_partition"),
        pl.col("sequence").cast(pl.Int64).alias("source_offset"),
        "place",
    )
    return only_once("every record is where the simulation's truth has it", expected, placed)
