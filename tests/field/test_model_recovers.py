"""A model that fails for a while is left alone, and comes back in the flow that runs."""

import json
import signal
import time
from pathlib import Path

import polars as pl
import pytest

from flows import settings as settings_
from operators.model import SCORE
from ops import cli
from ops.verify import verify
from tests.field.test_model import rule
from tests.field.topic import Field, payments
from tests.operators.model.made import identity, write
from tests.ops.reports import broken
from tests.running import Flow, wait_until
from tests.scraped import scrape, served
from tests.servers.ports import lasting_port

GOOD, BAD = 5_000, 20_000
"""Amounts of which the model makes a score, and what is none."""


def test_the_breaker_closes_again_by_itself(
    local: Field,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, path, port = tmp_path / "rules", tmp_path / "made.onnx", lasting_port()
    folder.mkdir()
    (folder / "dear.yaml").write_text(rule("dear", f"amount_minor = {BAD}"))
    card = write(path, {"amount": "amount_minor / 10000.0"}, identity(1))
    local.settings |= {"MILLSTREAM_RULES": str(folder), "MILLSTREAM_MODEL": str(path)}
    local.create()
    amounts: list[int] = []
    name = f"{card.name}@{card.version}"

    def pay(amount: int) -> None:
        number = len(amounts)
        amounts.append(amount)
        local.send(*payments(number, number, amount_minor=amount))
        time.sleep(0.3)

    def told(metric: str) -> dict[tuple[str, ...], float]:
        return scrape(port, f"millstream_{metric}")

    def failures() -> float:
        return told("model_failures_total").get((name,), 0)

    def without() -> float:
        return told("decisions_without_model_total").get((), 0)

    def handled() -> float:
        return told("model_scores_total").get((name, "scored"), 0) + without()

    pay(GOOD)
    flow = Flow("payments", local.settings | served(port, tmp_path), local.folder / "state")
    try:
        wait_until(lambda: told("model_scores_total").get((name, "scored")) == 1)
        assert told("model_open") == {(name,): 0.0}
        deadline, until, left_alone = time.monotonic() + 240, 5.0, False
        while not left_alone:
            # It fails, is left alone, and fails each time that it is tried again: 4 s then.
            while failures() < until or told("model_open") != {(name,): 1.0}:
                assert time.monotonic() < deadline
                pay(BAD)
            wait_until(lambda: handled() == len(amounts))
            before = without()
            # What comes now is good, and first decided without it, if it comes in time for that.
            pay(GOOD)
            wait_until(lambda: handled() == len(amounts))
            left_alone, until = without() > before, failures() + 5
        while told("model_open") != {(name,): 0.0}:
            assert time.monotonic() < deadline
            pay(GOOD)
        for _ in range(3):
            pay(GOOD)
        wait_until(lambda: handled() == len(amounts))
        outcomes = told("decisions_total")
        decided, records = without(), len(amounts)
        assert flow.tell(signal.SIGTERM) == 0
    finally:
        flow.kill()
    said = flow.said()
    assert "is left alone for a while (answer: not from 0 to 1); rules go on" in said
    assert f"model {name} answers again" in said
    flow = local.flow(STOP_AT_END="true")
    assert flow.wait() == 0, flow.said()

    silver, decisions = local.table("silver/payments"), local.table("gold/decisions")
    assert silver.height == records
    good = silver.filter(pl.col("amount_minor") == GOOD)
    missing = good[SCORE].is_null()
    # One before, some while it was left alone, and the last again.
    assert missing.to_list()[0] is False
    assert missing.any()
    assert not missing[-3:].any()
    assert {*good[SCORE].drop_nulls()} == {0.5}
    bad = silver.filter(pl.col("amount_minor") == BAD)
    assert bad[SCORE].is_null().all()
    failed = decisions.filter("without_model")
    assert failed["source_offset"].to_list() == sorted(
        [*bad["source_offset"], *good.filter(missing)["source_offset"]]
    )
    # Rules have decided on them as ever.
    reviewed = failed.filter(pl.col("decision") == "review")
    assert reviewed["source_offset"].to_list() == bad["source_offset"].to_list()
    assert decided == failed.height
    assert outcomes[("rules", "review")] == bad.height
    assert broken(verify(settings_.load(local.settings))) == []
    monkeypatch.setattr("os.environ", local.settings)
    with pytest.raises(SystemExit, match="0"):
        cli.main(["decisions", "explain", failed["payment_id"][-1], "--json"])
    explained = json.loads(capsys.readouterr().out)
    assert explained["recorded"]["without_model"] is True
    assert explained["recorded"]["sentence"] == "Approved. Decided without the model."
    assert explained["recorded"]["model"] == card.file
