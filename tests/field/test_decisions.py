"""Each payment has its decision where all are to, and each decision can be explained."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import DeltaTable, write_deltalake

from flows import settings as settings_
from flows.streams import PAYMENTS
from flows.tables import BY_CHANGES
from operators.connectors.delta.definitions import PROPERTY
from operators.decisions.versions import CHANGES
from operators.decisions.words import PLAIN
from operators.model import load_model
from ops import cli
from ops.verify import pieces, verify
from ops.verify.tables import Tables
from tests.field.test_model import INPUTS, rule
from tests.field.topic import Field, payments
from tests.operators.model.made import identity, write
from tests.ops.reports import broken
from tests.running import wait_until

LIMITS = "review: 90\nblock: 300\nmodel_review: 0.6\nmodel_block: 0.97\n"
ABOUT = ("--column", "card_id", "--owner", "desk", "--why", "tried", "--expires", "1h")


@pytest.fixture
def run(
    local: Field, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Any:
    """Run a command with the field's settings, and return what it has printed."""

    def made(*arguments: str) -> str:
        with monkeypatch.context() as patch:
            for name, value in local.settings.items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as ended:
                cli.main(arguments)
        printed = capsys.readouterr()
        assert ended.value.code == 0, printed.err + printed.out
        return printed.out

    return made


def test_each_payment_has_its_decision_and_each_can_be_explained(
    local: Field, tmp_path: Path, run: Any
) -> None:
    folder, path = tmp_path / "rules", tmp_path / "made.onnx"
    (folder / "decisions").mkdir(parents=True)
    (folder / "decisions" / "thresholds.yaml").write_text(LIMITS)
    (folder / "much.yaml").write_text(rule("much", "amount_minor % 3 = 2"))
    definitions = PAYMENTS.features.definitions
    read = {name: definitions[name] for name in ("card_count_10m", "card_amount_minor_mean")}
    card = write(path, INPUTS, features=read)
    local.settings |= {
        "MILLSTREAM_RULES": str(folder),
        "MILLSTREAM_MODEL": str(path),
        "MILLSTREAM_CONTROL_TOPIC": f"{local.topic}.control",
        "MILLSTREAM_BATCH_SIZE": "50",
    }
    stop = {"STOP_AT_END": "true"}
    local.create()
    local.send(*payments(0, 299))
    for name in ("payments", "alerts"):
        flow = local.flow(name, **stop)
        assert flow.wait() == 0, flow.said()
    decisions = local.table("gold/decisions")
    assert 0 < decisions.height < 200
    assert PLAIN not in decisions["sentence"]

    # From here on each payment has one, and there are lists, a pushed rule and a threshold.
    local.settings["MILLSTREAM_DECISIONS"] = "all"
    (tmp_path / "pushed.yaml").write_text(rule("pushed", "amount_minor % 10 = 4"))
    run("rules", "push", str(tmp_path / "pushed.yaml"), "--why", "tried")
    run("lists", "add", "stolen", "card-0", "card-2", "card-3", "--kind", "block", *ABOUT)
    run("lists", "add", "known", "card-1", "card-2", "--kind", "allow", *ABOUT)
    run("lists", "add", "sure", "card-3", "--kind", "allow", "--overrides", *ABOUT)
    run("thresholds", "set", "review", "70", "--why", "tried")
    begins = datetime.now(UTC) + timedelta(seconds=6)
    wait_until(lambda: datetime.now(UTC) > begins)
    local.send(*payments(300, 599))
    flow = local.flow()
    wait_until(lambda: local.table("gold/decisions").height > decisions.height)
    flow.kill()
    flow = local.flow(**stop)
    assert flow.wait() == 0, flow.said()
    # Another flow that sends them, in other batches, sends the same: `verify` sees none twice.
    flow = local.flow("alerts", BATCH_SIZE="7", **stop)
    assert flow.wait() == 0, flow.said()
    made = local.table("gold/decisions")
    assert made.head(decisions.height).equals(decisions)
    new = made.slice(decisions.height)
    assert new["source_offset"].to_list() == [*range(300, 600)]
    assert {*made["model"]} == {card.file}
    # Six entries and a threshold behind a pushed rule, in one partition.
    assert {*new["lists_change"], *new["thresholds_change"]} == {6, 7}
    assert decisions["lists_change"].null_count() == decisions.height
    assert broken(verify(settings_.load(local.settings))) == []

    def explained(decision: dict[str, Any]) -> dict[str, Any]:
        name = str(decision["payment_id"])
        assert decision["sentence"] in run("decisions", "explain", name)
        found: dict[str, Any] = json.loads(run("decisions", "explain", name, "--json"))
        assert found["same"]
        assert found["recorded"] == found["replayed"]
        for each in ("decision_id", "decision", "decided_by", "score", "model", "sentence"):
            assert found["recorded"][each] == decision[each]
        return found

    def some(what: pl.Expr) -> dict[str, Any]:
        rows = new.filter(what)
        assert rows.height
        return rows.row(-1, named=True)

    listed = pl.col("listed")
    plain = explained(some(pl.col("sentence") == PLAIN))
    assert (plain["recorded"]["decision"], plain["recorded"]["hits"]) == ("approve", [])
    assert plain["recorded"]["model_score"] < 0.6
    blocked = explained(some(listed == "block:stolen:card_id"))["recorded"]
    assert (blocked["decision"], blocked["decided_by"]) == ("block", "block list")
    assert blocked["sentence"].startswith("Blocked: its card_id is on block list stolen.")
    allowed = explained(some(listed == "allow:known:card_id"))["recorded"]
    assert (allowed["decision"], allowed["decided_by"]) == ("approve", "allow list")
    both = listed.str.contains("block:stolen", literal=True)
    weaker = explained(some(both & listed.str.contains("allow:known", literal=True)))
    assert weaker["recorded"]["decision"] == "block"
    over = explained(some(listed.str.contains("allow!:sure", literal=True)))["recorded"]
    assert (over["decision"], over["decided_by"]) == ("approve", "allow list")
    assert "is on allow list sure" in over["sentence"]
    hit = pl.col("hits").list.eval(pl.element().struct.field("rule_id")).list
    none = (listed == "") & ~(pl.col("model_share") > 0)
    pushed = explained(some(none & hit.contains("pushed") & ~hit.contains("much")))
    (one,) = pushed["recorded"]["hits"]
    assert (one["rule_id"], one["rule_version"], one["share"]) == ("pushed", 1, 1.0)
    assert {*one["values"]} == {"amount_minor", "model_score"}
    assert one["values"]["amount_minor"] % 10 == 4
    # The file has none, and the control topic has: as of today it is there alone.
    assert "pushed" in {each.partition(" ")[2] for each in pushed["changed"]}
    by_score = (pl.col("score") >= 70) & (pl.col("score") < 90) & (listed == "")
    share = explained(some(by_score & (pl.col("model_share") > 0)))
    recorded = share["recorded"]
    assert (recorded["review_at"], recorded["decision"]) == (70, "review")
    shares = sum(each["share"] for each in recorded["hits"])
    assert shares + recorded["model_share"] / recorded["score"] == pytest.approx(1)
    # What the model was given is what silver has.
    silver = local.table("silver/payments")
    row = silver.filter(pl.col("payment_id") == recorded["payment_id"])
    (given,) = load_model(path).inputs(row).tolist()
    assert share["inputs"] == dict(zip(INPUTS, given, strict=True))
    told = run("decisions", "explain", recorded["payment_id"])
    assert f"By model {card.file}" in told
    assert "Lists as of change 6: sure/card_id/card-3, from 20" in told
    assert "Thresholds as of change 7: review, from 20" in told
    assert share["versions"]["thresholds_change"]["why"] == "tried"
    assert f"The model was given amount {given[0]:.4f}".rstrip("0") in told

    # Another model, which fails; and then plain approvals have no row again.
    wrong = tmp_path / "wrong.onnx"
    other = write(wrong, INPUTS, identity(3), features=read, name="other", version=3)
    local.settings["MILLSTREAM_MODEL"] = str(wrong)
    local.send(*payments(600, 649))
    flow = local.flow(**stop)
    assert flow.wait() == 0, flow.said()
    failed = local.table("gold/decisions").slice(made.height)
    assert failed.height == 50
    assert failed["without_model"].all()
    assert {*failed["model"]} == {other.file}
    recorded = explained(failed.row(-1, named=True))["recorded"]
    assert recorded["model"].startswith("other@3, sha256 ")
    assert recorded["sentence"].endswith("Decided without the model.")
    del local.settings["MILLSTREAM_DECISIONS"]
    local.settings["MILLSTREAM_MODEL"] = str(path)
    local.send(*payments(650, 699), *payments(700, 749, amount_minor=1_000))
    flow = local.flow(**stop)
    assert flow.wait() == 0, flow.said()
    last = local.table("gold/decisions").filter(pl.col("source_offset") >= 650)
    assert 0 < last.height < 100
    assert PLAIN not in last["sentence"]
    assert {*last["model"]} == {card.file}
    report = verify(settings_.load(local.settings))
    assert broken(report) == []

    # The same in pieces, of which none has more rows than it may have.
    most, read = 64, list[int]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "MOST", most)
        whole = Tables.read

        def reading(self: Tables, name: str, columns: Any, where: str = "") -> pl.DataFrame:
            rows = whole(self, name, columns, where)
            if name in ("silver/payments", "gold/decisions") and "payment_id" in columns:
                read.append(rows.height)
            return rows

        patch.setattr(Tables, "read", reading)
        assert verify(settings_.load(local.settings)).checks == report.checks
        assert len(read) > 2 * 750 // most
        assert max(read) <= most
        # What is wrong in one of them is found.
        uri = str(local.folder / "tables" / "gold" / "decisions")
        DeltaTable(uri).update({"score": "score + 1"}, predicate="source_offset = 430")
        name = "gold/decisions is what lists, alerts and model make of silver/payments"
        assert broken(verify(settings_.load(local.settings))) == [name]


def test_decisions_of_a_release_that_named_no_changes_go_on_with_those_that_name_them(
    local: Field, tmp_path: Path, run: Any
) -> None:
    (tmp_path / "rules" / "decisions").mkdir(parents=True)
    (tmp_path / "rules" / "decisions" / "thresholds.yaml").write_text(LIMITS)
    (tmp_path / "rules" / "much.yaml").write_text(
        rule("much", "amount_minor % 3 = 2").replace("model_score", "amount_minor")
    )
    local.settings |= {
        "MILLSTREAM_RULES": str(tmp_path / "rules"),
        "MILLSTREAM_CONTROL_TOPIC": f"{local.topic}.control",
        "MILLSTREAM_DECISIONS": "all",
        "MILLSTREAM_STOP_AT_END": "true",
    }
    local.create()
    # The flow makes the topic of changes.
    assert local.flow().wait() == 0
    run("thresholds", "set", "review", "70", "--why", "tried")
    begins = datetime.now(UTC) + timedelta(seconds=6)
    wait_until(lambda: datetime.now(UTC) > begins)
    local.send(*payments(0, 9))
    flow = local.flow()
    assert flow.wait() == 0, flow.said()
    uri = str(local.folder / "tables" / "gold" / "decisions")
    table = DeltaTable(uri)
    told = json.loads(table.metadata().configuration[PROPERTY])
    assert told.pop(BY_CHANGES)
    older = pl.read_delta(table).drop(CHANGES)
    write_deltalake(table, older.to_arrow(), mode="overwrite", schema_mode="overwrite")
    table = DeltaTable(uri)
    table.alter.set_table_properties({PROPERTY: json.dumps(told)}, raise_if_not_exists=False)

    local.send(*payments(10, 19))
    flow = local.flow()
    assert flow.wait() == 0, flow.said()
    found = local.table("gold/decisions")
    assert found["source_offset"].to_list() == [*range(20)]
    assert found["review_at"].to_list() == [70] * 20
    assert found["thresholds_change"].to_list() == [None] * 10 + [0] * 10
    assert found["lists_change"].null_count() == 20
    assert broken(verify(settings_.load(local.settings))) == []
    for payment, change in (("payment-3", None), ("payment-13", 0)):
        told = json.loads(run("decisions", "explain", payment, "--json"))
        assert told["same"]
        named = told["versions"]["thresholds_change"]
        assert (named and named["offset"]) == change
