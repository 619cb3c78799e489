"""The step adds the score to each batch, and says when a model is left alone."""

import logging

import numpy as np
import polars as pl
import pytest
from bytewax import operators as op
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, TestingSource, run_main
from prometheus_client import REGISTRY

from operators.model import SCORE, Breaker, Model, ModelCard
from operators.records.batches import Batch, Progress
from operators.steps.model import score

CARD = ModelCard(
    name="step", version=3, description="-", inputs={"a": "a"}, stream="-", features={},
    sha256="0" * 64, threshold=0.5, trained={}, scores={},
)  # fmt: skip


class Session:
    def run(self, _, feed):
        (inputs,) = feed.values()
        if (inputs < 0).any():
            raise RuntimeError("broken")
        return [inputs]


def told(name: str, **labels: str) -> float:
    return (
        REGISTRY.get_sample_value(f"millstream_model_{name}", {"model": "step@3"} | labels) or 0
    )


def test_a_score_is_added_to_each_event(caplog: pytest.LogCaptureFixture) -> None:
    # A clock that is a second on at each look: the breaker is open for two batches.
    now = iter(np.arange(0, 100, 0.4))
    model = Model(CARD, Session(), "input", Breaker(lambda: float(next(now))))
    values = [[0.5, 0.25], [], [-1.0], [-1.0, 0.5], [-1.0], [0.5], [0.5], [0.5], [0.75]]
    batches = [
        Batch(Progress("t", 0, 1, n), pl.DataFrame({"a": each}, schema={"a": pl.Float64}))
        for n, each in enumerate(values)
    ]
    flow, out = Dataflow("model"), list[Batch]()
    source = op.input("in", flow, TestingSource(batches, batch_size=1))
    op.output("out", score("model", source, model), TestingSink(out))
    with caplog.at_level(logging.WARNING, logger="millstream.model"):
        run_main(flow)
    assert [each.progress.offset for each in out] == list(range(9))
    scores = [each.frame[SCORE].to_list() for each in out]
    assert scores[:5] == [[0.5, 0.25], [], [None], [None, None], [None]]
    assert [None] in scores[5:8]
    assert scores[-1] == [0.75]
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "model step@3 is left alone for a while (runtime: RuntimeError); rules go on",
        "model step@3 answers again",
    ]
    missing = sum(each.count(None) for each in scores)
    assert told("scores_total", outcome="none") == missing
    assert told("scores_total", outcome="scored") == 10 - missing
    assert told("failures_total") == 3
    assert told("open") == 0
