"""The step that decodes: what it says and counts of schemas that are no version here."""

import logging

import numpy as np
import pytest

import schemas
from operators import metrics
from operators.avro import Decoder
from operators.contracts import load_contract
from operators.records.batches import Batch, Progress, RawBatch
from operators.records.breaker import Breaker
from operators.steps.decode import decode_batches, decode_observed
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


def test_a_partition_with_a_run_of_rejects_is_paused_and_the_metric_says_so() -> None:
    """Another's records in between, and two batches of one at once, make no difference."""
    latest = schemas.latest("click")
    decoder = Decoder(latest, {1: latest}.__getitem__, [latest])
    topic, breaker = "clicks-in-a-row", Breaker(0.9, run=6, clock=lambda: 0)

    def paused(partition: int) -> float:
        return float(metrics.PARTITION_PAUSED.labels(topic, partition)._value.get())

    def came(partition: int, first: int, *good: bool) -> RawBatch:
        n = len(good)
        values = [
            b"\0\0\0\0\1" + click(at)[5:] if each else b"?" for at, each in enumerate(good)
        ]
        return RawBatch(
            Progress(topic, partition, 2, first + n - 1), np.arange(first, first + n),
            np.full(n, -1), (None,) * n, values, (None,) * n,
        )  # fmt: skip

    def take(*raws: RawBatch) -> None:
        decode_observed(list(raws), decoder, load_contract("click").check, breaker)

    take(came(0, 0, True, False, False), came(1, 0, False, True, False), came(0, 3, False))
    take(came(1, 3, *[False] * 4), came(0, 4, False, False, True))
    assert not breaker.paused(0)
    assert not breaker.paused(1)
    assert (paused(0), paused(1)) == (0, 0)
    take(came(0, 7, *[False] * 5), came(1, 7, False), came(1, 8, True))
    assert (paused(0), paused(1)) == (0, 1)
    assert (breaker.paused(0), breaker.paused(1)) == (False, True)
    # A few records after a minute tell that it is over.
    breaker._clock = lambda: 60
    assert not breaker.holds(1)
    breaker.took(1, 1)
    take(came(1, 9, True))
    assert (paused(1), breaker.paused(1)) == (0, False)
