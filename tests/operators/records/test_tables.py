import polars as pl

from operators.records.tables import COORDINATES, STAMPS, TIME, Table


def test_a_schema_is_the_columns_in_order_and_then_the_stamps():
    table = Table("t", {**COORDINATES, "n": pl.Int64()})
    assert list(table.schema) == [*COORDINATES, "n", *STAMPS]
    assert table.schema["written_at"] == TIME
