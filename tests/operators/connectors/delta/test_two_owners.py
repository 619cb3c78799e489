"""Two who maintain a table in an object store at once, where no lock keeps the second out."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable, write_deltalake

from operators.connectors.delta import maintenance
from operators.records.tables import Table
from tests.servers import s3

COMMITS = 6
TABLE = Table("silver/numbers", {"n": pl.Int64()}, scattered=())


def test_one_has_done_it_the_other_finds_it_done_and_the_rows_are_there_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.needed()
    with s3.s3(tmp_path) as port:
        for name, value in s3.storage_env(port).items():
            monkeypatch.setenv(name, value)
        s3.create_bucket(port, "tables")
        uri = f"s3://tables/{TABLE.name}"
        for number in range(COMMITS):
            rows = pl.DataFrame({"n": range(10 * number, 10 * number + 10)})
            write_deltalake(uri, rows.to_arrow(), mode="append")
        both, opened = threading.Barrier(2), threading.local()

        def open_together(uri: str) -> DeltaTable:
            handle = DeltaTable(uri)
            if not getattr(opened, "once", False):
                # Both have looked before either has committed.
                opened.once = True
                both.wait(60)
            return handle

        monkeypatch.setattr(maintenance, "DeltaTable", open_together)
        with ThreadPoolExecutor(2) as pool:
            asked = [
                pool.submit(maintenance.compact, "s3://tables", TABLE, 2**20) for _ in range(2)
            ]
            done = [each.result() for each in asked]
        monkeypatch.setattr(maintenance, "DeltaTable", DeltaTable)
        assert sorted((each.removed, each.added) for each in done) == [(0, 0), (COMMITS, 1)]
        handle = DeltaTable(uri)
        assert len(handle.file_uris()) == 1
        found = pl.DataFrame(handle.to_pyarrow_table())["n"].sort().to_list()
        assert found == list(range(10 * COMMITS))
        assert [e["operation"] for e in handle.history()].count("OPTIMIZE") == 1
        # What the second had written is part of nothing.
        left = maintenance.vacuum("s3://tables", TABLE, maintenance.SHORTEST * 0, orphans=True)
        assert len(left) == COMMITS + 1
