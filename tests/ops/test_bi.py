"""``millstream bi views``: files for an engine, and what it refuses."""

import json
import re
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
import sqlglot
from sqlglot import exp

from flows.streams import all_tables
from ops import cli
from ops.bi.dialects import DIALECTS
from ops.bi.views import SOURCES, views
from tests.pages import blocks

ROOTS = {
    "duckdb": "/data/it's",
    "spark": "s3://bucket/tables",
    "trino": "s3://bucket/tables",
    "synapse": "abfss://box@account.dfs.core.windows.net/tables",
}


def ended(*arguments: str) -> int:
    with pytest.raises(SystemExit) as done:
        cli.main(["bi", *arguments])
    return int(done.value.code)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_file_for_the_tables_and_one_for_each_view(dialect: str, tmp_path: Path, capsys):
    root = ROOTS[dialect]
    out = tmp_path / "new" / "views"
    assert ended("views", "--dialect", dialect, "--root", root, "--out", str(out)) == 0
    first, *others = sorted(out.iterdir())
    assert [each.stem.partition("_")[2] for each in others] == [each.name for each in views()]
    for view, path in zip(views(), others, strict=True):
        assert path.read_text().startswith(f"{view.comment}\nCREATE OR ")
    tables = first.read_text()
    assert all(f" VIEW bi.{name} AS" in tables for name in SOURCES)
    # Raw bytes and keys of what was refused are in no view of any engine.
    assert "quarantine" not in tables
    assert ended("views", "--dialect", dialect, "--root", root) == 0
    every = [first.read_text(), *(each.read_text() for each in others)]
    assert capsys.readouterr().out == "\n".join(every)


@pytest.mark.parametrize("dialect", ["duckdb", "spark", "trino"])
def test_what_makes_views_of_tables_is_sql_of_the_engine(dialect: str, capsys):
    assert ended("views", "--dialect", dialect, "--root", ROOTS[dialect]) == 0
    tables = capsys.readouterr().out.partition("-- Payments of each terminal")[0]
    statements = [
        each for each in sqlglot.parse(tables, read=DIALECTS[dialect].sqlglot) if each
    ]
    made = [each for each in statements if isinstance(each, exp.Create) and each.kind == "VIEW"]
    assert len(made) == len(SOURCES)
    called = [each for each in statements if each.sql().startswith("CALL ")]
    assert len(called) == (len(SOURCES) if dialect == "trino" else 0)


def test_synapse_is_given_batches_and_places_of_adls(capsys):
    assert ended("views", "--dialect", "synapse", "--root", ROOTS["synapse"]) == 0
    said = capsys.readouterr().out
    place = "https://account.dfs.core.windows.net/box/tables/gold/terminal_day/"
    assert f"OPENROWSET(BULK '{place}', FORMAT = 'DELTA') AS found\nGO\n" in said
    # One that makes a view must be alone in its batch.
    batches = said.split("\nGO\n")
    assert [each.count("CREATE OR ALTER VIEW") for each in batches[1:-1]] == [1] * (
        len(SOURCES) + len(views())
    )


def test_synapse_is_given_its_own_sql(capsys):
    assert ended("views", "--dialect", "synapse", "--root", ROOTS["synapse"]) == 0
    said = capsys.readouterr().out
    # The parser knows no rows of files: a name stands for them.
    read, places = re.subn(r"OPENROWSET\(BULK '[^']+', FORMAT = 'DELTA'\)", "dbo.files", said)
    assert places == len(SOURCES)
    _, *batches = read.split("\nGO\n")
    made = [sqlglot.parse_one(each, read="tsql") for each in batches if each.strip()]
    assert all(isinstance(each, exp.Create) and each.kind == "VIEW" for each in made)
    assert [each.this.sql("tsql") for each in made] == [
        f"bi.{name}" for name in [*SOURCES, *(view.name for view in views())]
    ]


def test_who_looks_at_figures_is_granted_the_views_that_name_nobody():
    (shown,) = blocks("docs/security.md", "Least privilege", "sql")
    first, *grants = shown.strip().splitlines()
    assert first == "CREATE ROLE figures;"
    granted = [sqlglot.parse_one(each.rstrip(";"), read="trino") for each in grants]
    assert all(isinstance(each, exp.Grant) for each in granted)
    assert {each.args["privileges"][0].sql() for each in granted} == {"SELECT"}
    names = {each.args["securable"].sql() for each in granted}
    people = {"customer_days", "customer_segments", "high_value_customers"}
    assert names == {f"bi.{view.name}" for view in views() if view.name not in people}
    personal = {"customer_id", "card_id"}
    for view in views():
        told = {each.name for each in sqlglot.parse_one(view.sql, read="duckdb").selects}
        assert bool(told & personal) <= (view.name in people), view.name


def test_who_reads_gold_alone_reads_no_other_prefix():
    (shown,) = blocks("docs/security.md", "Least privilege", "json")
    get, listed = json.loads(shown)["Statement"]
    assert (get["Action"], listed["Action"]) == ("s3:GetObject", "s3:ListBucket")
    assert get["Effect"] == listed["Effect"] == "Allow"
    bucket, _, prefix = get["Resource"].removeprefix("arn:aws:s3:::").partition("/")
    assert listed["Resource"] == f"arn:aws:s3:::{bucket}"
    assert listed["Condition"] == {"StringLike": {"s3:prefix": prefix}}
    read = {t.name for t in all_tables() if fnmatch(f"tables/{t.name}/part-0.parquet", prefix)}
    assert read == {t.name for t in all_tables() if t.name.startswith("gold/")}


@pytest.mark.parametrize(
    ("dialect", "says"),
    [("synapse", "abfss://CONTAINER@ACCOUNT"), ("trino", "name their root there with --root")],
)
def test_places_that_an_engine_cannot_read_are_refused(dialect: str, says: str, capsys):
    assert ended("views", "--dialect", dialect, "--root", "/data/tables") == 2
    assert says in capsys.readouterr().err


def test_what_is_missing_is_said_in_a_line(tmp_path: Path, capsys, monkeypatch):
    monkeypatch.delenv("MILLSTREAM_DELTA_ROOT", raising=False)
    assert ended("views") == 2
    assert capsys.readouterr().err == (
        "millstream: no --root, and MILLSTREAM_DELTA_ROOT is not set\n"
    )
    assert ended("shell", "--root", str(tmp_path), "-c", "SELECT 1") == 1
    assert "no tables of days under" in capsys.readouterr().err
    file = tmp_path / "file"
    file.touch()
    assert ended("views", "--root", "/data", "--out", str(file)) == 1
    assert capsys.readouterr().err == f"millstream: {file}: File exists\n"
    # None stands for what can't be imported.
    monkeypatch.setitem(sys.modules, "sqlglot", None)
    monkeypatch.setitem(sys.modules, "duckdb", None)
    for command in (["views", "--dialect", "spark"], ["shell"], ["report"]):
        assert ended(*command, "--root", str(tmp_path)) == 2
        assert "pip install 'millstream[bi]'" in capsys.readouterr().err
    # DuckDB's own SQL needs neither.
    assert ended("views", "--root", str(tmp_path)) == 0
