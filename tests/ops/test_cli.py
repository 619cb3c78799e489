"""Mistakes with the command ``millstream``: one line that says what to do, and a status."""

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from deltalake.exceptions import DeltaError

from flows.settings import PREFIX
from flows.streams import PAYMENTS
from operators.connectors.delta.table import open_table
from ops import cli
from ops.local import Stack
from ops.topics import create_topic
from tests import topics


@pytest.fixture(autouse=True)
def _nowhere(monkeypatch, tmp_path):
    """A folder with a file and an empty folder, and no settings."""
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("no folder")
    Path("empty").mkdir()
    pl.DataFrame({"amount": [1]}).write_parquet("some.parquet")
    payment = {
        "transaction_id": [1], "event_time": [datetime(2018, 4, 1, tzinfo=UTC)],
        "customer_id": [1], "terminal_id": [1], "amount": [1.0],
    }  # fmt: skip
    pl.DataFrame(payment).write_parquet("good.parquet")
    pl.DataFrame(payment).clear().write_parquet("none.parquet")


def said(capsys, *arguments: str) -> tuple[int, str]:
    """Return the status of a command that fails, and its one line."""
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("millstream")
    return ended.value.code, lines[0]


@pytest.mark.parametrize(
    ("command", "status", "part"),
    [
        ("query --root nowhere SELECT", 1, "no tables under nowhere: name their folder"),
        ("query --root file SELECT", 1, "no tables under file"),
        ("query SELECT", 2, "no --root, and MILLSTREAM_DELTA_ROOT is not set"),
        ("simulate --payments 1", 2, "MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS is not set"),
        ("simulate --bootstrap x:1 --file nowhere", 2, "No such file or directory"),
        ("simulate --bootstrap x:1 --file file", 2, "file: not a parquet file"),
        (
            "simulate --bootstrap x:1 --file some.parquet",
            2,
            "some.parquet: no column transaction_id",
        ),
        ("simulate --bootstrap x:1 --truth file/x", 2, "--truth: no folder"),
        ("demo --payments 1 --folder file", 2, "file: Not a directory"),
        ("demo --payments 0", 2, "payments is 0, not 1 or more"),
        ("demo --file some.parquet", 2, "no column"),
        ("local up --folder file", 1, "file: File exists"),
        ("simulate --bootstrap x:1 --file good.parquet --records 0", 2, "--records is 0, not"),
        ("rules backtest", 2, "name the tables' folder, with --root or MILLSTREAM_DELTA_ROOT"),
        (
            "rules backtest --root empty",
            1,
            "silver/payments: run the flow of payments, or name",
        ),
        ("rules backtest --root empty --rules nowhere", 2, "--rules: nowhere is no folder"),
        ("rules backtest --root empty --rules empty", 2, "no rules (*.yaml) in empty"),
        ("rules backtest --root empty --html no/x", 2, "--html: no folder"),
        (
            "rules backtest --root empty --from 2026-02-01 --to 2026-01-01",
            2,
            "--from 2026-02-01 is behind --to 2026-01-01",
        ),
        ("rules backtest --input file --stream clicks", 2, "file of payments, not of clicks"),
        ("rules backtest --input file --version 1", 2, "--version and --root are of tables"),
        ("rules backtest --input nowhere", 2, "--input: no file nowhere"),
        ("rules backtest --input file", 2, "file: not a parquet file"),
        ("rules backtest --input some.parquet", 2, "no column transaction_id"),
        ("rules backtest --input file --labels nowhere", 2, "--labels: no file nowhere"),
        ("rules backtest --input good.parquet --labels file", 2, "file is not a parquet file"),
        (
            "rules backtest --input good.parquet --labels some.parquet",
            2,
            "has no column payment_id and no is_fraud; millstream simulate --truth writes",
        ),
        (
            "rules backtest --root empty --stream clicks --labels some.parquet",
            1,
            "run the flow of clicks",
        ),
        ("rules backtest --input none.parquet", 1, "none.parquet has no payments"),
        (
            "rules backtest --input good.parquet --to 2017-01-01",
            1,
            "has payments of 2018-04-01 to 2018-04-01, none of the days",
        ),
        ("rules backtest --input good.parquet --html empty", 1, "empty: Is a directory"),
    ],
)
def test_a_mistake_is_one_line(command: str, status: int, part: str, capsys):
    found, line = said(capsys, *command.split())
    assert found == status
    assert part in line


def test_verify_names_what_is_missing(stack: Stack, tmp_path: Path, monkeypatch, capsys):
    create_topic(stack.bootstrap, tmp_path.name, 1)
    for name, value in topics.settings(stack, tmp_path.name, tmp_path / "empty").items():
        monkeypatch.setenv(name, value)
    assert said(capsys, "verify", "--truth", "nowhere") == (
        2, "millstream: --truth: no file nowhere",
    )  # fmt: skip
    (tmp_path / "other.parquet").write_text("no truth")
    status, line = said(capsys, "verify", "--truth", str(tmp_path / "other.parquet"))
    assert status == 2
    assert line.endswith("other.parquet is not what millstream simulate --truth writes")
    status, line = said(capsys, "verify")
    assert status == 1
    assert f"there is no table {tmp_path}/empty/tables/" in line


def test_sql_that_cannot_run_is_one_line(capsys):
    open_table("empty", PAYMENTS.bronze)
    status, line = said(
        capsys, "query", "--root", "empty", "SELECT amount FROM bronze_payments"
    )
    assert status == 1
    assert "No field named amount" in line


@pytest.mark.parametrize("known", [True, False])
def test_what_no_command_expects_is_a_line_where_it_is_known(known, monkeypatch, capsys):
    def fail(*_: object) -> None:
        raise DeltaError("no log") if known else ZeroDivisionError

    monkeypatch.setattr("ops.local.status", fail)
    if known:
        status, line = said(capsys, "local", "status")
        assert (status, "no log" in line) == (1, True)
    else:
        with pytest.raises(ZeroDivisionError):
            cli.main(["local", "status"])


def test_help_tells_every_command_and_imports_none():
    code = "import sys; from ops import cli; cli.parser(); print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert not {"polars", "deltalake", "pydantic", "confluent_kafka"} & {*found.stdout.split()}
    assert "argparse" in found.stdout


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_a_command_is_what_its_module_says(command):
    def lines(parser) -> list[str]:
        return parser.format_help().splitlines()

    assert lines(cli.parser(command)) == lines(cli.parser())
