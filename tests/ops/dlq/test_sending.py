"""The rate at which rejects are sent, on a clock of the test's own."""

from itertools import pairwise

import polars as pl
import pytest

from ops.dlq import sending


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize(("rate", "last"), [(10, 9.0), (5, 13.0), (None, 7.0)])
def test_records_have_their_share_of_a_second_each_also_behind_a_pause(
    monkeypatch: pytest.MonkeyPatch, rate: int | None, last: float
) -> None:
    clock, begun = Clock(), list[tuple[float, int]]()
    monkeypatch.setattr(sending, "time", clock)
    sender = sending.Sender.__new__(sending.Sender)
    sender._rate = rate

    def transact(_: str, chunk: pl.DataFrame) -> None:
        begun.append((clock.now, chunk.height))
        # The brokers are slow about the second one.
        clock.now += 7.0 if len(begun) == 2 else 0.0

    monkeypatch.setattr(sender, "_transact", transact)
    frames = [pl.DataFrame({"n": range(size)}) for size in (25, 5, 10)]
    assert sender.send("one", iter(frames), lambda _: None) == 40
    assert sum(size for _, size in begun) == 40
    for (at, size), (after, _) in pairwise(begun):
        assert rate is None or after - at >= size / rate
    assert begun[-1][0] == last
