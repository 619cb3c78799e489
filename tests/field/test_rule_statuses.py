"""Rules in shadow, live, live for some cards, drafts and paused ones, changed between runs."""

import json
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable, write_deltalake

from flows import settings as settings_
from operators.connectors.delta.definitions import PROPERTY
from operators.connectors.kafka.client import read_to_end
from operators.rules.rule import OWN_COLUMNS
from ops import cli
from ops.verify import verify
from tests.field.topic import Field, payment
from tests.ops.reports import broken
from tests.running import Flow
from tests.servers.ports import lasting_port

# One table has the epoch then, others perhaps not, and the recovery store never.
KILLED = "operators.connectors.delta.writer.sync_commit:kill"
STOP = {"MILLSTREAM_STOP_AT_END": "true"}
ALERTS = "gold/alerts equals the rules on silver, row for row"
DECISIONS = "gold/decisions is what lists, alerts and model make of silver/payments"
LIVE = "every row of gold/alerts that is live, once"

RULE = """\
id: {name}
version: 1
description: Each payment.
severity: low
when: {when}
score: "1"
reason: each
{more}
cases: [{{name: any, payments: [{{}}], alerts: [1]}}]
"""


@pytest.fixture
def rules(local: Field) -> Path:
    """Give the folder of the flow's rules, with none yet."""
    folder = local.folder / "rules"
    folder.mkdir()
    local.settings["MILLSTREAM_RULES"] = str(folder)
    local.create(2)
    return folder


def state(folder: Path, name: str, more: str = "", when: str = "amount_minor > 0") -> None:
    (folder / f"{name}.yaml").write_text(RULE.format(name=name, more=more, when=when))


def send(field: Field, first: int, last: int) -> None:
    for partition in (0, 1):
        numbers = range(first + partition, last, 2)
        field.send(
            *(payment(n, card_id=f"card-{n % 46}") for n in numbers), partition=partition
        )


def sent(field: Field, what: str = "alert") -> list[str]:
    """Return the ids of what has been sent."""
    config = {"bootstrap.servers": field.bootstrap}
    found = read_to_end(config, f"{field.topic}.{what}s", {0: 0, 1: 0})
    return sorted(json.loads(message.value())[f"{what}_id"] for message in found)


def limits(folder: Path, review: float, block: float) -> None:
    (folder / "decisions").mkdir(exist_ok=True)
    text = f"review: {review}\nblock: {block}\n"
    (folder / "decisions" / "thresholds.yaml").write_text(text)


def made(decisions: pl.DataFrame) -> list[tuple]:
    """Return of how many rules' hits each decision was made, with the thresholds."""
    rows = decisions.with_columns(rules=pl.col("hits").list.len())
    names = "decision", "score", "rules", "review_at", "block_at"
    return sorted(rows.select(names).unique().rows())


def live(alerts: pl.DataFrame) -> list[str]:
    # Rows of releases that knew no status have none.
    return sorted(alerts.filter(pl.col("rule_status").fill_null("live") == "live")["alert_id"])


def check(field: Field) -> dict[str, int]:
    """Look that the books balance; return what was not compared, by the check."""
    report = verify(settings_.load(field.settings))
    assert broken(report) == []
    return {each.name: each.deleted for each in report.checks if each.deleted}


@pytest.mark.slow
def test_statuses_hold_behind_kills_in_any_shape_and_change_without_a_version(
    local: Field, rules: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # What a release wrote that knew no status and no action.
    state(rules, "all")
    state(rules, "quiet")
    send(local, 0, 46)
    go_on(local)
    uri = str(local.folder / "tables" / "gold" / "alerts")
    before(uri)
    assert not set(OWN_COLUMNS) & set(local.table("gold/alerts").columns)
    assert check(local) == {}
    assert made(local.table("gold/decisions")) == [("review", 2.0, 2, 50.0, 150.0)]

    limits(rules, 2, 3)
    state(rules, "quiet", "status: shadow")
    state(rules, "part", "rollout: 40%\naction: block")
    state(rules, "draft", "status: draft", when="nothing_of_the_kind > 1")
    state(rules, "rest", "status: paused")
    send(local, 46, 138)
    assert "; 3 rules" in go_on(local, "-w", "2")
    alerts = local.table("gold/alerts")
    old = pl.col("source_offset") < 23
    assert alerts.filter(old).select(OWN_COLUMNS).null_count().row(0) == (92, 92)
    first = alerts.filter(~old)
    assert first.group_by("rule_id").len().sort("rule_id").rows() == [
        ("all", 92), ("part", 92), ("quiet", 92)
    ]  # fmt: skip
    assert statuses(first, "all", "quiet") == [{"live"}, {"shadow"}]
    assert set(first.filter(rule_id="part")["action"]) == {"block"}
    among = {*first.filter(rule_id="part", rule_status="live")["card_id"]}
    others = {*first.filter(rule_id="part", rule_status="shadow")["card_id"]}
    assert not among & others
    assert 8 < len(among) < 30
    assert sent(local) == live(alerts)
    decisions = local.table("gold/decisions")
    assert made(decisions.filter(~old)) == [
        ("block", 2.0, 2, 2.0, 3.0), ("review", 1.0, 1, 2.0, 3.0)
    ]  # fmt: skip
    assert {*decisions.filter(~old, decision="block")["card_id"]} == among
    assert sent(local, "decision") == sorted(decisions["decision_id"])
    assert check(local) == {}

    # What all has sent in the epoch that ends here is in shadow in the table, if not there yet.
    send(local, 138, 184)
    go_on(local, killed=True)
    there = local.table("gold/alerts")
    state(rules, "all", "status: shadow")
    state(rules, "part", "rollout: 80%\naction: block")
    state(rules, "quiet")
    state(rules, "rest")
    limits(rules, 1, 2)
    send(local, 184, 230)
    addresses = ";".join(f"127.0.0.1:{lasting_port()}" for _ in range(2))
    both = [flow(local, "-i", each, "-a", addresses) for each in "01"]
    assert [each.wait() for each in both] == [0, 0], both[0].said()
    assert "; 4 rules" in last_run(both[0])
    alerts = local.table("gold/alerts")
    known = pl.col("alert_id").is_in(there["alert_id"].implode())
    assert alerts.filter(known).sort("alert_id").equals(there.sort("alert_id"))
    new = alerts.filter(~known)
    assert statuses(new, "all", "quiet", "rest") == [{"shadow"}, {"live"}, {"live"}]
    assert among < {*new.filter(rule_id="part", rule_status="live")["card_id"]}
    more = {*sent(local)} - {*live(alerts)}
    assert {*live(alerts)} <= {*sent(local)}
    assert more <= {*alerts.filter(rule_id="all", rule_status="shadow")["alert_id"]}
    decisions = local.table("gold/decisions")
    behind = decisions.filter(pl.col("source_offset") >= 92)
    assert made(behind) == [("block", 2.0, 2, 1.0, 2.0), ("block", 3.0, 3, 1.0, 2.0)]
    assert sent(local, "decision") == sorted(decisions["decision_id"])
    # What the crash kept from one of the two tables was decided by other rules than it has.
    assert check(local).keys() <= {DECISIONS}

    # Made again as it was, of rules, statuses and thresholds that are others by now.
    was = told(local, capsys, "payment-46")
    assert (was["same"], was["comparable"], was["recorded"]) == (True, True, was["replayed"])
    row = decisions.filter(payment_id="payment-46").row(0, named=True)
    assert was["recorded"]["sentence"] == row["sentence"]
    assert [each["rule_id"] for each in was["recorded"]["hits"]] == [
        each["rule_id"] for each in row["hits"]
    ]
    assert was["recorded"]["hits"][0]["values"] == {"amount_minor": 1_046}
    assert {each["rule_id"] for each in was["shadow"]} >= {"quiet"}
    assert was["changed"]["threshold review"] == {"was": "2.0", "is": "1.0"}
    assert was["changed"]["status quiet"] == {"was": "shadow", "is": None}
    assert was["changed"]["status all"] == {"was": None, "is": "shadow"}
    assert was["today"]["review_at"] == 1
    assert "all" not in {each["rule_id"] for each in was["today"]["hits"]}
    new = told(local, capsys, "payment-229")
    assert (new["same"], new["changed"], new["today"]) == (True, {}, new["recorded"])

    decided = str(local.folder / "tables" / "gold" / "decisions")
    version = DeltaTable(decided).version()
    changes = {100: {"decision": "'approve'"}, 101: {"sentence": "'No.'"}, 102: {"score": "9"}}
    for offset, values in changes.items():
        DeltaTable(decided).update(updates=values, predicate=f"source_offset = {offset}")
    report = verify(settings_.load(local.settings))
    assert broken(report) == [DECISIONS]
    (named,) = (each.offending for each in report.checks if not each.ok)
    assert named == 2 * 2 * len(changes)
    assert not told(local, capsys, "payment-200", status=1)["same"]
    DeltaTable(decided).restore(version)

    DeltaTable(uri).update(updates={"action": "NULL"}, predicate="source_offset = 100")
    assert broken(verify(settings_.load(local.settings))) == [ALERTS, DECISIONS]
    DeltaTable(uri).update(
        updates={"rule_status": "'live'"}, predicate="rule_id = 'quiet' AND source_offset = 30"
    )
    failed = broken(verify(settings_.load(local.settings)))
    assert failed == [ALERTS, DECISIONS, f"{local.topic}.alerts holds {LIVE}"]


def told(field: Field, capsys: pytest.CaptureFixture[str], name: str, status: int = 0) -> dict:
    """Return what is explained of a decision."""
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in field.settings.items():
            patch.setenv(variable, value)
        for arguments in ([name], [name, "--json"]):
            with pytest.raises(SystemExit) as ended:
                cli.main(["decisions", "explain", *arguments])
            assert ended.value.code == status
            said = capsys.readouterr().out
            assert name in said
    return json.loads(said)


def statuses(alerts: pl.DataFrame, *rules: str) -> list[set[str]]:
    return [{*alerts.filter(rule_id=rule)["rule_status"]} for rule in rules]


def go_on(field: Field, *arguments: str, killed: bool = False) -> str:
    """Run the flow to the topic's end, or until it is killed; return what it has said."""
    run = flow(field, *arguments, at=KILLED if killed else "")
    assert run.wait() == (-9 if killed else 0), run.said()
    return last_run(run)


def flow(field: Field, *arguments: str, at: str = "") -> Flow:
    return Flow("payments", field.settings | STOP, field.folder / "state", *arguments, at=at)


def last_run(run: Flow) -> str:
    return run.said().rpartition("flow of Millstream")[2]


def before(uri: str) -> None:
    """Make a table of alerts what a release would have left that knew no status and no action."""
    table = DeltaTable(uri)
    told = json.loads(table.metadata().configuration[PROPERTY])
    rows = pl.read_delta(uri).drop(OWN_COLUMNS)
    write_deltalake(table, rows.to_arrow(), mode="overwrite", schema_mode="overwrite")
    told = {name: each for name, each in told.items() if name.startswith("rule ")}
    table = DeltaTable(uri)
    table.alter.set_table_properties({PROPERTY: json.dumps(told)}, raise_if_not_exists=False)
