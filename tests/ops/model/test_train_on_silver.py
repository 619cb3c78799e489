"""A model trained on silver is trained on what flows then score: nothing else, to the last bit."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from flows import settings as settings_
from operators.columns.hashing import hash_strings
from operators.model import SCORE, load_model, read_spec
from operators.model.model import matrix
from ops import cli
from ops.local import Stack
from ops.model.examples import Examples, examples
from ops.verify import verify
from tests.field.test_labels import label, tell
from tests.field.topic import NOON, Field, payment
from tests.ops.model.history import FEATURES, INPUTS
from tests.ops.reports import broken
from tests.servers import kafka

DAYS, PER_DAY = 20, 240
SERVED = 16
"""The day from which on the model scores."""

RULE = """\
id: likely
version: 1
description: What the model finds.
severity: low
when: model_score >= 0.5 OR amount_minor < 0
score: "1"
reason: "much"
cases:
  - name: nothing
    payments: [{amount_minor: 1}]
    alerts: []
"""


def paid(number: int) -> dict[str, Any]:
    """Return what there is to know of a payment: the large ones at one terminal are frauds."""
    return {
        "event_time": NOON + timedelta(minutes=6 * number),
        "card_id": f"card-{number * number % 97}",
        "terminal_id": f"terminal-{number * number // 5 % 11}",
        "amount_minor": 1_000 + number * 37 % 4_000,
    }


def fraud(number: int) -> bool:
    known = paid(number)
    return known["terminal_id"] == "terminal-3" and known["amount_minor"] > 2_500


@pytest.fixture
def field(stack: Stack, tmp_path: Path) -> Field:
    """A topic, and one of labels that come a day after their payment."""
    found = Field(stack, stack.bootstrap, tmp_path)
    folder = tmp_path / "rules"
    (folder / "features").mkdir(parents=True)
    for name, text in FEATURES.items():
        (folder / "features" / f"{name}.yaml").write_text(text)
    (folder / "amount.yaml").write_text(
        RULE.replace("likely", "amount").replace("model_score >= 0.5 OR ", "")
    )
    inputs = "".join(f"  {name}: {sql}\n" for name, sql in INPUTS.items())
    stated = f"name: small\nversion: 1\ndescription: A small one.\ninputs:\n{inputs}"
    (tmp_path / "model.yml").write_text(stated)
    found.settings |= {"MILLSTREAM_RULES": str(folder), "MILLSTREAM_BATCH_SIZE": "100"}
    found.create()
    kafka.create_topic(found.bootstrap, f"{found.topic}.labels", 2)
    return found


def send(field: Field, first: int, last: int) -> None:
    numbers = range(first * PER_DAY, last * PER_DAY)
    field.send(*(payment(number, **paid(number)) for number in numbers))
    said = [
        label(
            number,
            event_time=paid(number)["event_time"] + timedelta(days=1),
            verdict="FRAUD" if fraud(number) else "GENUINE",
            **{name: paid(number)[name] for name in ("card_id", "terminal_id")},
        )
        for number in numbers
    ]
    tell(field, said)


def day(number: int) -> str:
    return str((NOON + timedelta(days=number)).date())


def test_what_training_saw_is_what_the_flow_scores(
    field: Field, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    send(field, 0, SERVED)
    flow = field.flow(STOP_AT_END="true")
    assert flow.wait() == 0, flow.said()
    labels = field.folder / "labels.parquet"
    numbers = range(DAYS * PER_DAY)
    pl.DataFrame(
        {
            "payment_id": [f"payment-{number}" for number in numbers],
            "is_fraud": [fraud(number) for number in numbers],
        }
    ).write_parquet(labels)
    monkeypatch.setattr("os.environ", field.settings)
    seen: list[list[Examples]] = []

    def watched(*given: Any) -> list[Examples]:
        seen.append(examples(*given))
        return seen[-1]

    monkeypatch.setattr("ops.model.examples.examples", watched)

    def train(name: str, *more: str) -> dict[str, Any]:
        folder = field.folder
        arguments = [
            "--spec", folder / "model.yml", "--rules", folder / "rules", "--labels", labels,
            "--from", day(1), "--to", day(14), "--held", "4", "--json", *more,
        ]  # fmt: skip
        with pytest.raises(SystemExit) as ended:
            cli.main(["model", "train", *map(str, (folder / name, *arguments))])
        printed = capsys.readouterr()
        assert ended.value.code == 0, printed.err
        found: dict[str, Any] = json.loads(printed.out)
        return found

    card = train("first.onnx")
    version = card["trained"]["on"]
    assert version.startswith("silver/payments at version ")
    assert card["trained"]["labels"] == str(labels)
    # It has learnt what there is to know.
    assert card["scores"]["held"]["auc_roc"] > 0.8

    (field.folder / "rules" / "amount.yaml").unlink()
    (field.folder / "rules" / "likely.yaml").write_text(RULE)
    field.settings["MILLSTREAM_MODEL"] = str(field.folder / "first.onnx")
    send(field, SERVED, DAYS)
    flow = field.flow(STOP_AT_END="true")
    assert flow.wait() == 0, flow.said()
    silver = field.table("silver/payments")
    scored = silver.filter(pl.col(SCORE).is_not_null())
    first = SERVED * PER_DAY
    assert scored["source_offset"].to_list() == [*range(first, DAYS * PER_DAY)]
    alerts = field.table("gold/alerts").filter(pl.col("rule_id") == "likely")
    frauds = {number for number in range(first, DAYS * PER_DAY) if fraud(number)}
    assert len(frauds & {*alerts["source_offset"]}) > len(frauds) / 2

    # By now silver has the days that the flow has scored: training sees of them what it saw.
    again = train("again.onnx", "--test-to", day(19))
    assert again["trained"]["on"] != version
    assert (field.folder / "again.onnx").read_bytes() == (
        field.folder / "first.onnx"
    ).read_bytes()
    test = seen[-1][-1]
    of = pl.col("event_time").dt.date().cast(pl.String)
    order = silver.filter(of.is_between(pl.lit(day(15)), pl.lit(day(19)))).sort("event_time")
    assert test.ids.tolist() == hash_strings(order["payment_id"]).tolist()
    spec = read_spec(field.folder / "model.yml")
    served = matrix(order, spec.expressions)
    assert np.array_equal(served, test.inputs, equal_nan=True)
    # Each input is one that varies: else nothing would be shown.
    assert all(len(np.unique(column)) > 1 for column in test.inputs.T)
    frame = pl.DataFrame(dict(zip(INPUTS.values(), test.inputs.T, strict=True)))
    answer, why = load_model(field.folder / "first.onnx").answer(frame)
    assert why is None
    there = order[SCORE].is_not_null()
    assert there.sum() > 0.8 * scored.height
    assert answer.filter(there).equals(order[SCORE].filter(there))
    # Also of what had been decided before there was a model.
    assert broken(verify(settings_.load(field.settings))) == []
