"""Table columns of Avro records."""

from typing import Final

import polars as pl

import schemas
from operators.avro import REST, columns_of
from operators.contracts import REPAIRS, WARNINGS, load_contract

NOTED: Final = (REST, REPAIRS, WARNINGS)
"""The columns of what was left over of a record, repaired, and warned of."""


def record_columns(record: str) -> dict[str, pl.DataType]:
    """Return the columns of a record's newest schema with their types."""
    return columns_of(schemas.latest(record))


def noted_columns(record: str, *, rest: bool) -> dict[str, pl.DataType]:
    """Return those that there are by a record's contract, and if any is the `rest` of it.

    Raises ContractError.
    """
    contract = load_contract(record)
    names = [REST] if rest else []
    names += [REPAIRS] if contract.repairs else []
    names += [WARNINGS] if contract.warns else []
    return dict.fromkeys(names, pl.String())
