"""The step that decodes: what it says and counts of schemas that are no version here."""

import logging

import numpy as np
import pytest

import schemas
from operators import metrics
from operators.avro import Decoder
from operators.contracts import load_contract
from operators.records.batches import Batch, Progress, RawBatch
from operators.steps.decode import decode_batches
from tests.flows.clicks import click


def counted(outcome: str) -> float:
    return float(metrics.DRIFTED.labels("clicks", outcome)._value.get())


def test_a_schema_that_is_no_version_is_told_once_and_each_record_of_it_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    latest = schemas.latest("click")
    more = latest | {"fields": [*latest["fields"], {"name": "page", "type": "string"}]}
    less = latest | {"fields": latest["fields"][1:]}
    known = {1: latest, 2: more, 3: less}
    decoder = Decoder(latest, known.__getitem__, [latest])
    before = counted("read"), counted("refused")

    def run(*ids: int) -> int:
        values = [
            b"\0" + number.to_bytes(4, "big") + click(at)[5:] + b"\2a"
            for at, number in enumerate(ids)
        ]
        n = len(values)
        raw = RawBatch(
            Progress("clicks", 0, 0, n), np.arange(n), np.full(n, -1), (None,) * n, values,
            (None,) * n,
        )  # fmt: skip
        found = decode_batches([raw], decoder, load_contract("click").check)
        return sum(len(item.frame) for item in found if isinstance(item, Batch))

    with caplog.at_level(logging.WARNING, "millstream"):
        assert [run(1, 2, 2), run(2, 3)] == [3, 1]
    assert [record.getMessage() for record in caplog.records] == [
        "topic clicks: schema id 2 is no version here: + page (string); its records are read, new "
        "fields kept in _rest",
        "topic clicks: schema id 3 is no version here: - click_id (string); its records are "
        "refused: field click_id: not written, and has no default",
    ]
    assert (counted("read"), counted("refused")) == (before[0] + 3, before[1] + 1)
