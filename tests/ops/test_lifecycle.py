"""Rules for cold storage reach days of tables, and never a log."""

import json
import shlex

import pytest

from flows.streams import PAYMENTS, all_tables
from ops import cli
from ops.lifecycle import LifecycleError, day_of, rules
from tests.pages import blocks


def test_the_page_shows_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    (shown,) = blocks("docs/operations.md", "Cold storage", "json")
    (command,) = blocks("docs/operations.md", "Cold storage", "sh")
    with pytest.raises(SystemExit, match="0"):
        cli.main(shlex.split(command)[1:])
    assert json.loads(capsys.readouterr().out) == json.loads(shown)


def test_no_prefix_reaches_a_log_or_a_table_that_is_not_cut_by_days() -> None:
    tables = all_tables()
    made = rules("s3://lake/", tables, 90, "STANDARD_IA")["Rules"]
    prefixes = [each["Filter"]["Prefix"] for each in made]
    cut = {"bronze/payments", "silver/payments", "bronze/customers", "silver/clicks"}
    assert cut <= {prefix.rpartition("/")[0] for prefix in prefixes}
    for table in tables:
        days = day_of(table)
        data = f"{days}=2026-03-01/part-0.parquet" if days else "part-0.parquet"
        reached = [p for p in prefixes if f"{table.name}/{data}".startswith(p)]
        assert len(reached) == (days is not None)
        log = f"{table.name}/_delta_log/00000000000000000000.json"
        assert not any(log.startswith(prefix) for prefix in prefixes)
    assert {len(each) for each in map(set, made)} == {4}


@pytest.mark.parametrize(
    ("root", "tables", "days", "why"),
    [
        ("/data/tables", [PAYMENTS.silver], 90, "in no bucket of S3"),
        ("s3://lake", [PAYMENTS.quarantine], 90, "none of these tables is cut by days"),
        ("s3://lake", [PAYMENTS.silver], 30, "is 30, not more than 30"),
    ],
)
def test_others_are_refused(root, tables, days, why) -> None:
    with pytest.raises(LifecycleError, match=why):
        rules(root, tables, days, "GLACIER_IR")
