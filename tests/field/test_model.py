"""A model scores each payment: what silver keeps is what rules, verify and backtests see."""

import json
import shutil
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable

from flows import settings as settings_
from flows.streams import PAYMENTS
from operators.model import SCORE, card_of, load_model
from ops import cli
from ops.verify import Report, verify
from tests.field.topic import Field, payments
from tests.operators.model.made import identity, write
from tests.ops.reports import broken
from tests.running import wait_until

INPUTS = {
    "amount": "amount_minor / 1000.0 - 1.5",
    "count": "card_count_10m - 5",
    "ratio": "amount_minor / card_amount_minor_mean - 1",
}
RULES = {
    "likely": "model_score >= 0.5",
    "much": "amount_minor > 1900",
}


def rule(name: str, when: str) -> str:
    return f"""\
id: {name}
version: 1
description: A rule.
severity: low
when: {when}
score: "1"
reason: "{{model_score}}"
cases:
  - name: an amount
    payments: [{{amount_minor: 1}}]
    alerts: []
"""


def compared(report: Report) -> tuple[int, int, str]:
    """Return of the scores how many were compared, how many were not, and why."""
    (scores,) = (each for each in report.checks if "' scores are what" in each.name)
    return scores.compared, scores.deleted, scores.because


def test_scores_are_kept_and_a_model_that_fails_leaves_all_to_rules(
    local: Field,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, path = tmp_path / "rules", tmp_path / "made.onnx"
    folder.mkdir()
    for name, when in RULES.items():
        (folder / f"{name}.yaml").write_text(rule(name, when))
    (folder / "decisions").mkdir()
    limits = "review: 50\nblock: 150\nmodel_block: 0.6\n"
    (folder / "decisions" / "thresholds.yaml").write_text(limits)
    definitions = PAYMENTS.features.definitions
    read = {name: definitions[name] for name in ("card_count_10m", "card_amount_minor_mean")}
    write(path, INPUTS, features=read)
    local.settings |= {
        "MILLSTREAM_RULES": str(folder),
        "MILLSTREAM_MODEL": str(path),
        "MILLSTREAM_BATCH_SIZE": "50",
    }
    local.create()

    def rows() -> int:
        there = local.folder / "tables" / "silver" / "payments" / "_delta_log"
        return local.table("silver/payments").height if there.exists() else 0

    local.send(*payments(0, 599))
    flow = local.flow()
    wait_until(lambda: rows() > 0)
    flow.kill()
    stop = {"STOP_AT_END": "true"}
    flow = local.flow(**stop)
    assert flow.wait() == 0, flow.said()
    # Another flow, other batches: the same scores, so that all alerts were sent.
    assert local.flow("alerts", BATCH_SIZE="7", **stop).wait() == 0
    silver = local.table("silver/payments")
    scores = silver[SCORE]
    assert silver.height == 600
    assert scores.null_count() == 0
    assert scores.equals(load_model(path).answer(silver)[0])
    likely = silver.filter(pl.col(SCORE) >= 0.5)
    assert 0 < likely.height < 600
    alerts = local.table("gold/alerts")
    found = alerts.filter(pl.col("rule_id") == "likely")
    assert found["source_offset"].to_list() == likely["source_offset"].to_list()
    report = verify(settings_.load(local.settings))
    assert broken(report) == []
    assert compared(report) == (600, 0, "")
    # A backtest decides as the flow has, by rules and model.
    monkeypatch.setattr("os.environ", local.settings)
    with pytest.raises(SystemExit, match="0"):
        cli.main(["rules", "backtest", "--json"])
    tried = json.loads(capsys.readouterr().out)["decisions"]
    decisions = local.table("gold/decisions")
    for name in ("review", "block"):
        made = (decisions["decision"] == name).sum()
        assert tried[name]["count"] == tried["live"][name]["count"] == made
    assert tried["decided_by"]["model"] == (decisions["decided_by"] == "model").sum() > 0

    # One that answers with what is no score.
    good, wrong = path, tmp_path / "wrong.onnx"
    write(wrong, INPUTS, identity(3), features=read)
    local.send(*payments(600, 999))
    flow = local.flow(**stop, MODEL=str(wrong))
    assert flow.wait() == 0, flow.said()
    silver = local.table("silver/payments")
    assert silver[SCORE].is_null().to_list() == [False] * 600 + [True] * 400
    alerts = local.table("gold/alerts")
    assert alerts.filter(pl.col("rule_id") == "much").height == 99
    # Each payment has its decision without the model, by rules alone.
    decisions = local.table("gold/decisions")
    failed = decisions.filter(pl.col("source_offset") >= 600)
    assert failed["without_model"].to_list() == [True] * 400
    reviewed = failed["decision"] == "review"
    assert reviewed.to_list() == (failed["source_offset"] > 900).to_list()
    assert failed["sentence"][0] == "Approved. Decided without the model."
    scored = decisions.filter(pl.col("source_offset") < 600)
    assert scored["source_offset"].to_list() == likely["source_offset"].to_list()
    assert not scored["without_model"].any()
    share = (100 * scored["model_score"]).round(2)
    assert scored["model_share"].equals(share)
    assert scored["score"].to_list() == [round(1 + each, 2) for each in share]
    blocked = scored["model_score"] >= 0.6
    assert blocked.any()
    assert (scored["decision"] == "block").equals(blocked)
    assert {*scored.filter(blocked)["decided_by"]} == {"model"}
    report = verify(settings_.load(local.settings))
    assert broken(report) == []
    unanswered = "400 without a score, as the model had no answer"
    assert compared(report) == (600, 400, unanswered)
    # By another file than silver says nothing can be told of its scores, nor by none.
    named = load_model(good).card.file
    by_other = verify(settings_.load(local.settings | {"MILLSTREAM_MODEL": str(wrong)}))
    assert broken(by_other) == []
    told = f"600 scored by {named}, not by {load_model(wrong).card.file}; {unanswered}"
    assert compared(by_other) == (0, 1_000, told)
    monkeypatch.setattr("os.environ", local.settings | {"MILLSTREAM_MODEL": "/gone.onnx"})
    with pytest.raises(SystemExit) as ended:
        cli.main(["verify", "--json"])
    printed = capsys.readouterr().out
    assert ended.value.code == 0, printed
    assert f"{named}: MILLSTREAM_MODEL names no file that is there; {unanswered}" in printed
    # A score that the model did not give.
    silver = DeltaTable(str(local.folder / "tables" / "silver" / "payments"))
    unlikely = int(scores.arg_min() or 0)
    silver.update(predicate=f"source_offset = {unlikely}", updates={SCORE: "0.25"})
    (wrong_score,) = (
        each for each in verify(settings_.load(local.settings)).checks if not each.ok
    )
    (example,) = wrong_score.examples
    assert example == {
        "source_partition": 0, "source_offset": unlikely, "stored": 0.25,
        "made": scores[unlikely],
    }  # fmt: skip

    # One that was trained on other features than there are.
    other = tmp_path / "other.onnx"
    shutil.copy(good, other)
    stated = json.loads(card_of(good).read_text())
    stated["features"]["card_count_10m"] = "1: count() by terminal_id"
    card_of(other).write_text(json.dumps(stated))
    flow = local.flow(MODEL=str(other))
    assert flow.wait() == 2
    assert "was trained on another card_count_10m (1: count() by terminal_id)" in flow.said()
    assert "Traceback" not in flow.said()
