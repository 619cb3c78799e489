import pickle
from dataclasses import replace

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.event_time.watermarks import FlowWatermark
from operators.records.batches import END_OF_INPUT, NO_WATERMARK, Progress
from operators.windows import (
    OpenWindows,
    Windows,
    agg,
    newest,
    session,
    sliding,
    tumbling,
)  # fmt: skip
from tests.examples import examples
from tests.operators.windows.model import Record, chains, expected, frame, open_now, shown
from tests.operators.windows.soon import full

BOUND = 20

AGGREGATES = {
    "payments": agg.count(),
    "total": agg.sum("amount"),
    "least": agg.min("amount"),
    "most": agg.max("amount"),
    "mean": agg.mean("amount"),
    "spread": agg.stddev("amount"),
    "first": agg.first("card"),
    "last": agg.last("amount"),
    "cards": agg.distinct("card"),
    "about": agg.distinct("card", exact=2),
    "median": agg.quantile("amount", 0.5),
    "high": agg.quantile("amount", 0.9, exact=3),
}
SOME = {
    "payments": agg.count(),
    "gains": agg.count(where="amount > 0"),
    "gained": agg.sum("amount", where="amount > 0"),
    "of_u": agg.max("amount", where="card = 'u' OR card IS NULL"),
    "cards": agg.distinct("card", where="amount > 0"),
    "most": agg.max("amount"),
}
FEW = {"payments": agg.count(), "total": agg.sum("amount")}
NUMBERS = {name: AGGREGATES[name] for name in ("payments", "total", "mean", "cards", "about")}
EXTREMES = {name: AGGREGATES[name] for name in ("least", "most", "cards")}

SPECS = {
    "tumbling": Windows(("key",), tumbling(60), AGGREGATES),
    "tumbling, lateness": Windows(("key",), tumbling(60), AGGREGATES, lateness=90),
    "tumbling, revisions": Windows(("key",), tumbling(60), FEW, lateness=90, revisions=3),
    "tumbling, early": Windows(("key",), tumbling(60, offset=7), FEW, early=20),
    "sliding": Windows(("key",), sliding(60, every=20), AGGREGATES),
    "sliding, numbers": Windows(("key",), sliding(60, every=20), NUMBERS),
    "sliding, extremes": Windows(("key",), sliding(60, every=20), EXTREMES),
    "sliding, uneven": Windows(("key",), sliding(50, every=20, offset=3), FEW),
    "sliding, all": Windows(
        ("key",), sliding(60, every=20), FEW, lateness=50, revisions=2, early=25
    ),
    "tumbling, filtered": Windows(("key",), tumbling(60), SOME, lateness=90),
    "sliding, filtered": Windows(("key",), sliding(60, every=20), SOME),
    "session, filtered": Windows(("key",), session(30, step=6), SOME, lateness=40),
    "session": Windows(("key",), session(30), AGGREGATES),
    "session, lateness": Windows(("key",), session(30, step=7), AGGREGATES, lateness=40),
    "session, early": Windows(("key",), session(30, step=5), FEW, early=10),
    "session, all": Windows(("key",), session(30, step=6), FEW, lateness=80, early=12),
    "session, one step": Windows(("key",), session(30, step=30), FEW),
}


class Run:
    """Drives `OpenWindows`, with a watermark of its own beside it."""

    def __init__(self, windows: Windows) -> None:
        self.spec = windows
        self.windows = OpenWindows(windows)
        self.flow = FlowWatermark()
        self.panes: list[pl.DataFrame] = []
        self.late: list[tuple[int, int, int]] = []
        self.records: list[Record] = []

    def _tell(self, late: pl.DataFrame | None) -> None:
        if late is not None:
            self.late += late.select("source_partition", "source_offset", "window_start").rows()

    def advance(self, progress: list[Progress], records: list[Record]) -> None:
        # A partition that wakes up is judged by the watermark that it wakes up to.
        self.records += [
            replace(r, mark=max(r.mark, self.flow.floor(r.partition))) for r in records
        ]
        judged = self.spec.judge(frame(records)) if records else None
        if judged is not None:
            self._tell(judged.late)
        closed = self.windows.advance(progress, None if judged is None else judged.rows)
        self._tell(closed.late)
        if closed.panes is not None:
            self.panes.append(closed.panes)
        for each in progress:
            self.flow.observe(each)
        panes, late = expected(self.spec, self.records)
        assert sorted(self.late) == late
        due = {k: v for k, v in panes.items() if v[0] <= self.flow.current}
        assert shown(self.spec, self.panes) == due
        assert self.windows.open == open_now(self.spec, self.records, self.flow.current)

    def snapshot(self, *, crash: bool) -> None:
        state = pickle.loads(pickle.dumps(self.windows.dump()))
        flow = self.flow.freeze()
        if crash:
            self.windows = OpenWindows.load(self.spec, state)
            self.flow = FlowWatermark.thaw(flow)

    def end(self, partitions: int) -> None:
        ends = [Progress("t", p, partitions, 0, END_OF_INPUT) for p in range(partitions)]
        self.advance(ends, [])
        assert self.windows.rows == self.windows.open == 0
        assert self.windows.dump()["slots"] == {}


@st.composite
def streams(draw, max_records=20):
    """Records of 1 to 3 partitions, each with its own watermarks, times out of order."""
    result = []
    for partition in range(draw(st.integers(1, 3))):
        time, largest, records = draw(st.integers(-100, 400)), None, []
        for offset in range(draw(st.integers(0, max_records))):
            time += draw(st.integers(-60, 70))
            records.append(
                Record(
                    partition,
                    offset,
                    draw(st.sampled_from("abé")),
                    time,
                    draw(st.none() | st.integers(-(10**12), 10**12)),
                    draw(st.none() | st.sampled_from("uvwxyz")),
                    NO_WATERMARK if largest is None else largest - BOUND,
                )
            )
            largest = time if largest is None else max(time, largest)
            if draw(st.integers(0, 9)) == 0:
                records.append(replace(records[-1], offset=offset, mark=largest - BOUND))
        result.append([replace(r, offset=i) for i, r in enumerate(records)])
    return result


def after(records: list[Record]) -> int:
    return max(r.time for r in records) - BOUND if records else NO_WATERMARK


def play(windows: Windows, data, stream, *, idle: bool) -> Run:
    """Feed the streams in drawn cuts and interleavings, with crashes in between."""
    run, taken = Run(windows), [0] * len(stream)
    while any(at < len(records) for at, records in zip(taken, stream, strict=True)):
        progress, rows = [], []
        for partition in data.draw(
            st.lists(st.integers(0, len(stream) - 1), min_size=1, max_size=3)
        ):
            records, at = stream[partition], taken[partition]
            end = min(len(records), at + data.draw(st.integers(0, 8)))
            rows += records[at:end]
            asleep = idle and end == at and data.draw(st.booleans())
            mark = after(records[:end])
            progress.append(Progress("t", partition, len(stream), end - 1, mark, asleep))
            taken[partition] = end
        run.advance(progress, rows)
        if data.draw(st.booleans()):
            run.snapshot(crash=data.draw(st.booleans()))
    run.end(len(stream))
    return run


@pytest.mark.parametrize("soon", [False, True], ids=["few", "many"])
@pytest.mark.parametrize("name", SPECS)
@examples(0.5)
@given(stream=streams(), data=st.data())
def test_any_cuts_interleavings_and_crashes_give_the_panes_of_the_model(
    name, soon, stream, data
):
    with full(soon):
        run = play(SPECS[name], data, stream, idle=False)
    panes, late = expected(SPECS[name], [r for records in stream for r in records])
    assert shown(SPECS[name], run.panes) == panes
    assert sorted(run.late) == late


@pytest.mark.parametrize("name", ["session, lateness", "session, all"])
@examples(0.5)
@given(stream=streams(), data=st.data())
def test_at_any_time_a_row_is_superseded_by_a_later_one_that_overlaps_it(name, stream, data):
    windows = SPECS[name]
    run = play(windows, data, stream, idle=False)
    if not run.panes:
        return
    rows = pl.concat(run.panes).with_columns(pl.col("window_start", "window_end").to_physical())
    dues = sorted(set(rows["closes"]))
    for due in (*data.draw(st.lists(st.sampled_from(dues), max_size=3)), dues[-1]):
        known = rows.filter(pl.col("closes") <= due)
        told = known.select("key", "window_start", "window_end", "revision", "closes").rows()
        standing = [
            (key, start, end, revision)
            for key, start, end, revision, closes in told
            if not any(
                key == other[0] and start < other[2] and other[1] < end and closes < other[4]
                for other in told
            )
        ]
        columns = ["key", "window_start", "window_end", "revision"]
        assert sorted(newest(known, windows)[columns].rows()) == sorted(standing)
    in_time = [r for r in run.records if r.time + windows.lateness > r.mark]
    assert sorted(newest(rows, windows)["key", "window_start", "payments"].rows()) == sorted(
        (key, chain[0].time, len(chain))
        for key in {r.key for r in in_time}
        for chain in chains([r for r in in_time if r.key == key], windows.window.gap)
    )


@pytest.mark.parametrize("name", SPECS)
@examples(0.5)
@given(stream=streams(), data=st.data())
def test_with_idle_partitions_each_record_is_counted_or_late_for_each_window(
    name, stream, data
):
    # `Run.advance` compares with the model at every step, woken partitions included.
    play(SPECS[name], data, stream, idle=True)
