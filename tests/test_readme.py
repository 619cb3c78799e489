"""README and docs are true to the letter: commands run, what they name is there."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import bytewax.operators as op
import pytest
import yaml
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSource

import schemas
from flows.enforced.settings import EnforceSettings
from flows.environment import ENFORCE_PREFIX
from flows.secret_files import SECRETS, SUFFIX
from flows.settings import PREFIX, Settings
from flows.streams import CUSTOMERS, PAYMENTS, STREAMS
from operators.connectors.delta.acts import AUDIT, REPLAYS
from operators.contracts import read_contract
from operators.privacy.declared import read_tags
from operators.steps.windows import WindowOut, aggregate
from operators.windows import agg, sliding
from ops import cli
from ops.demo import PARTITIONS
from ops.forget.ledger import FORGOTTEN
from ops.simulate import Params, simulate
from tests.flows.joined import payments_have_their_customers_as_of_then
from tests.pages import BLOCKS, PAGES, ROOT, blocks, tried


def test_the_first_two_commands_are_make_targets_and_ci_runs_the_second() -> None:
    (shown,) = blocks("README.md", "Two commands", "sh")
    assert shown.split("\n")[:2] == ["make demo", "make test"]
    plan = subprocess.run(
        ["make", "-n", "demo", "DATA=a.parquet"], cwd=ROOT, capture_output=True, text=True
    )
    assert '.venv/bin/millstream demo --file "a.parquet"' in plan.stdout
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def test_what_a_load_needs_is_what_the_command_says(capsys: pytest.CaptureFixture[str]) -> None:
    (command,) = blocks("docs/capacity.md", "Capacity", "sh")
    (shown,) = blocks("docs/capacity.md", "Capacity", "text")
    with pytest.raises(SystemExit, match="0"):
        cli.main(command.split()[1:])
    said = capsys.readouterr().out.splitlines()
    assert [line.rstrip() for line in said] == shown.splitlines()


def test_what_it_shows_of_a_stream_and_of_rules_is_what_is_declared() -> None:
    declared = (ROOT / "flows" / "streams" / "clicks" / "__init__.py").read_text()
    (shown,) = blocks("README.md", "Declare a stream", "python")
    assert declared.partition("\n\n")[2].strip() == shown.strip()
    contract = (ROOT / "schemas" / "click" / "contract.yaml").read_text()
    (checks,) = blocks("README.md", "Declare a stream", "yaml")
    assert contract.partition("\n")[2] == checks
    columns = re.search(r"The columns: (.*?)\.\n", PAGES["docs/rules.md"], re.DOTALL)
    assert columns
    assert re.findall(r"`(\w+)`", columns[1]) == list(PAYMENTS.columns)


def test_its_rule_on_a_new_feature_is_two_files_that_hold(tmp_path: Path, capsys) -> None:
    feature, rule = blocks("docs/rules.md", "On a new feature", "yaml")
    (of_labels,) = blocks("docs/rules.md", "From labels", "yaml")
    drafts = ROOT / "flows" / "streams" / "payments" / "drafts" / "features"
    assert of_labels == (drafts / "terminal_fraud_share_30d.yaml").read_text("utf-8")
    assert "`features/card_small_10m.yaml`" in PAGES["docs/rules.md"]
    (tmp_path / "features").mkdir()
    (tmp_path / "features" / "card_small_10m.yaml").write_text(feature)
    (tmp_path / "card_testing.yaml").write_text(rule)
    with pytest.raises(SystemExit) as ended:
        cli.main(["rules", "check", str(tmp_path)])
    cost, told = capsys.readouterr().out.splitlines()
    assert cost.startswith("card_testing: ")
    assert told == "1 rules, 1 cases, 1 features, 0 problems"
    assert ended.value.code == 0


def test_the_files_that_it_names_are_there() -> None:
    named = [
        path
        for page in PAGES.values()
        for path in re.findall(
            r"`((?:flows|operators|ops|schemas|tests|docs|k8s)/[\w/.]+)`", page
        )
    ]
    assert len(named) > 10
    tables = {REPLAYS.name, AUDIT.name, FORGOTTEN.name}
    named = [path for path in named if path not in tables]
    assert [path for path in named if not (ROOT / path.rstrip("/")).exists()] == []


def test_the_bounds_of_event_time_that_it_shows_are_a_contract_s() -> None:
    (shown,) = blocks("docs/streams.md", "Bounds of event time", "yaml")
    checks = read_contract(shown, schemas.latest("payment"), "payment").checks
    assert [(each.code, each.severity, each.rule) for each in checks] == [
        ("event_time_range", "quarantine",
         "from 2000-01-01 to 2100-01-01, and not far past the record's Kafka time"),
        ("event_time_ahead", "warn", "at most 1m past the record's Kafka time"),
    ]  # fmt: skip


def test_changes_are_declared_joined_and_asked_as_it_shows(tmp_path: Path) -> None:
    named: dict[str, Any] = {}
    (declared,) = blocks("docs/changes.md", "Changes", "python")
    exec(declared, named)
    assert named["CUSTOMERS"] == CUSTOMERS
    payments_have_their_customers_as_of_then(tmp_path)


def test_the_tags_that_it_shows_can_be_those_of_payments() -> None:
    (field,) = blocks("docs/privacy.md", "Tag fields", "json")
    one = json.loads(field)
    assert read_tags({"fields": [one]}, {}) == ({one["name"]: one["pii"]}, [])
    (shown,) = blocks("docs/privacy.md", "Tag fields", "yaml")
    (said,) = re.findall(
        r"^pii: .*$", (ROOT / "schemas/payment/contract.yaml").read_text(), re.M
    )
    assert shown.startswith(said)
    read_contract(f"checks: []\n{shown}", schemas.latest("payment"), "payment")


def test_every_block_is_tried_by_a_test() -> None:
    # What stands in a line, such as docker and kubectl, needs what no test has: a daemon, a
    # cluster; of those of ours the next test sees that they are there.
    assert {*BLOCKS} == {*tried()}


def test_what_it_says_to_type_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    typed = {
        command
        for page in PAGES.values()
        for command in re.findall(
            r"(?<!`)`(?:\.venv/bin/)?((?:make|python|millstream)\s[^`]+)`", page
        )
    }
    assert len(typed) > 8
    for command in sorted(typed):
        program, *words = command.replace("[FOLDER]", "").split()
        if words[:2] == ["-m", "bytewax.run"]:
            assert (ROOT / f"{words[2].replace('.', '/')}.py").exists(), command
            continue
        if program == "millstream":
            # Here, as each process of its own takes a second to start.
            with pytest.raises(SystemExit) as ended:
                cli.main([*words, "--help"])
            status, (shown, complaint) = ended.value.code, capsys.readouterr()
        else:
            start = ["make", "-n", *words]
            if program == "python":
                start = [sys.executable, *words, "--help"]
            done = subprocess.run(start, cwd=ROOT, capture_output=True, text=True, check=False)
            status, shown, complaint = done.returncode, done.stdout, done.stderr
        assert status == 0, (command, complaint)
        # With --help nobody looks at what else is there.
        for option in re.findall(r"--[\w-]+", command):
            assert option in shown, command


def test_the_settings_that_it_names_are_there() -> None:
    own = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    streams = {f"{PREFIX}{stream.name.upper()}_" for stream in STREAMS}
    own |= {f"{secret}{SUFFIX}" for secret in SECRETS}
    own |= {f"{ENFORCE_PREFIX}{name.upper()}" for name in EnforceSettings.model_fields}
    others = (f"{PREFIX}KAFKA_", f"{PREFIX}SCHEMA_REGISTRY_", *streams)
    named = {
        name for page in PAGES.values() for name in re.findall(rf"`({PREFIX}[A-Z_]+)", page)
    }
    assert named
    assert {name for name in named if name not in own and not name.startswith(others)} == set()


def test_the_drawing_has_every_table_and_topic() -> None:
    (drawing,) = blocks("README.md", "Millstream", "mermaid")
    for table in PAYMENTS.all_tables:
        assert table.name in drawing
    for topic in ("payments", "payments.alerts", "payments.decisions", "payments.dlq"):
        assert f"Kafka: {topic})" in drawing


def test_what_the_demo_shows_is_what_it_simulates() -> None:
    truth = simulate(Params(payments=100_000, partitions=PARTITIONS)).truth
    (shown,) = blocks("README.md", "Two commands", "text")
    counts = dict(re.findall(r"^(\w+) +([\d,]+)$", shown, re.MULTILINE))
    places = dict(truth.group_by("place").len().rows())
    for name, place in {
        "unique": "silver",
        "duplicates": "duplicates",
        "rejected": "quarantine",
    }.items():
        assert counts[name] == f"{places[place]:,}"
    assert counts["events"] == f"{truth.height:,}"


def test_the_rule_that_it_shows_is_one_of_payments() -> None:
    (block,) = blocks("README.md", "Write a rule", "yaml")
    assert PAYMENTS.rules
    shown = yaml.safe_load(block)
    rule = yaml.safe_load((PAYMENTS.rules / "velocity.yaml").read_text())
    for name in ("version", "severity", "when", "score", "reason"):
        assert shown[name] == rule[name]
    assert shown["cases"][0] in rule["cases"]


def test_the_folders_that_it_draws_are_there() -> None:
    (folders,) = blocks("README.md", "Declare a stream", "text")
    (rooms,) = blocks("docs/architecture.md", "Rooms", "text")
    for line in (folders + rooms).splitlines():
        first = line.split("  ")[0].replace("<name>", "payments")
        assert not first or (ROOT / first).exists(), line


def test_the_aggregate_that_it_shows_is_a_step() -> None:
    (block,) = blocks("docs/streams.md", "Event time", "python")
    flow = Dataflow("shown")
    payments = op.input("payments", flow, TestingSource([]))
    names = {"aggregate": aggregate, "sliding": sliding, "agg": agg, "payments": payments}
    exec(block, names)  # it is our own page
    assert isinstance(names["hourly"], WindowOut)
