"""Files of recorded payments are one history, in whatever order they are given."""

import json
import shlex
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ops import cli
from tests.ops.backtest.test_file import START, backtest
from tests.pages import blocks

FIGURES = (
    "events",
    "frauds",
    "judged",
    "rules",
    "total",
    "model",
    "live",
    "decisions",
    "daily",
)


def rows(first: int, last: int) -> pl.DataFrame:
    """Return payments of some days, 40 a day; of two weeks all at two terminals are frauds."""
    n = range(40 * first, 40 * last)
    return pl.DataFrame(
        {
            "transaction_id": n,
            "event_time": [START + timedelta(minutes=36 * i) for i in n],
            "customer_id": [i * 7 % 61 for i in n],
            "terminal_id": [i % 11 for i in n],
            "amount": [(i * 37 % 9_000 + 100) / 100 for i in n],
            "is_fraud": [i % 11 in (3, 5) and 25 <= i // 40 < 40 for i in n],
        }
    )


@pytest.fixture
def months(tmp_path: Path) -> list[Path]:
    """The files of two months and of both."""
    files = [tmp_path / f"{name}.parquet" for name in ("first", "second", "both")]
    for file, days in zip(files, ((0, 30), (30, 60), (0, 60)), strict=True):
        rows(*days).write_parquet(file)
    return files


def refused(capsys: Any, *files: Path) -> str:
    given = [each for file in files for each in ("--input", str(file))]
    with pytest.raises(SystemExit) as ended:
        cli.main(["rules", "backtest", *given])
    assert ended.value.code == 2
    told: str = capsys.readouterr().err
    assert told.count("\n") == 1
    return told


def test_a_month_with_the_one_before_it_is_the_same_as_both_in_one_file(months, capsys):
    first, second, both = months
    days = ("--from", "2018-05-01", "--to", "2018-05-30")
    whole = backtest(capsys, "--input", both, *days)
    for files in ((first, second), (second, first)):
        given = [each for file in files for each in ("--input", file)]
        found = backtest(capsys, *given, *days)
        assert {name: found[name] for name in FIGURES} == {n: whole[n] for n in FIGURES}
        assert found["source"] == ", ".join(map(str, files))
        assert found["read"] == 2_400
        assert found["notes"] == []
    assert whole["rules"]["terminal_compromised"]["alerts"] > 100
    # The month alone knows of no label, and says so.
    alone = backtest(capsys, "--input", second, *days)
    assert alone["events"] == whole["events"]
    there = alone["rules"]["terminal_compromised"]["alerts"]
    assert there < whole["rules"]["terminal_compromised"]["alerts"]
    (note,) = alone["notes"]
    assert note.startswith("features look back up to 90 days, and here know 0 before the first")
    assert "give the files of earlier months too, with --input again" in note


def test_files_that_are_no_one_history_are_refused(months, tmp_path, capsys):
    first, _, both = months
    assert refused(capsys, first, both) == (
        f"millstream: --input: {both} begins at 2018-04-01 00:00:00, before {first} ends "
        "(2018-04-30 23:24:00): give files that do not overlap\n"
    )
    assert "a file is given twice" in refused(capsys, first, first)
    assert f"no file {tmp_path / 'none'}" in refused(capsys, first, tmp_path / "none")
    rows(60, 61).drop("is_fraud").write_parquet(other := tmp_path / "other.parquet")
    assert f"{other} has no is_fraud, which the others have" in refused(capsys, first, other)
    holed = rows(60, 61).with_columns(
        pl.when(pl.col("terminal_id") > 3).then("terminal_id"), pl.lit(None).alias("is_fraud")
    )
    holed.write_parquet(other)
    told = f"{other}: nulls in column terminal_id, is_fraud"
    assert told in refused(capsys, first, other)
    rows(60, 61).drop("amount", "customer_id").write_parquet(other)
    assert f"{other}: no column customer_id, amount" in refused(capsys, first, other)


def test_a_file_without_rows_and_one_that_begins_where_another_ends_are_no_overlap(
    months, tmp_path, capsys
):
    first, _, both = months
    rows(0, 1).head(0).write_parquet(nothing := tmp_path / "nothing.parquet")
    last = rows(0, 30)["event_time"][-1]
    more = rows(30, 60).with_columns(event_time=pl.max_horizontal("event_time", pl.lit(last)))
    more[0, "event_time"] = last
    more.write_parquet(tmp_path / "more.parquet")
    files = (tmp_path / "more.parquet", nothing, first)
    given = [each for file in files for each in ("--input", file)]
    assert backtest(capsys, *given)["read"] == backtest(capsys, "--input", both)["read"]


def test_the_page_judges_a_later_month_with_the_one_before(tmp_path, monkeypatch, capsys):
    (command,) = blocks("docs/scoring.md", "On recorded payments", "sh")
    given = shlex.split(command)[1:]
    first, second = (given[n + 1] for n, each in enumerate(given) if each == "--input")
    monkeypatch.chdir(tmp_path)
    rows(0, 91).write_parquet(first)
    rows(91, 122).write_parquet(second)
    with pytest.raises(SystemExit) as ended:
        cli.main([*given, "--json"])
    printed = capsys.readouterr()
    assert ended.value.code == 0, printed.err
    found = json.loads(printed.out)
    assert found["notes"] == []
    assert 0 < found["events"] < found["read"]
