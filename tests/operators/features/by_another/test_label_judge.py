"""From when labels count, and what comes of the table instead of the topic."""

import pickle
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from operators.features.by_another import LabelJudge
from operators.records.batches import NO_WATERMARK, Batch, Progress
from operators.records.tables import TIME

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
AT = int(NOON.timestamp()) * 1_000_000
SECOND = 1_000_000
COLUMNS = {"source_partition": pl.Int32(), "source_offset": pl.Int64(), "watermark": TIME}


def rows(*offsets: int, woken: int | None = None) -> pl.DataFrame:
    frame = pl.DataFrame(
        [{"source_partition": 0, "source_offset": each, "watermark": NOON} for each in offsets],
        schema=COLUMNS,
    )
    if woken is None:
        return frame
    return frame.with_columns(
        pl.lit(NOON + timedelta(seconds=woken)).cast(TIME).alias("woken_at")
    )


def labels(*offsets: int, until: int, **more: bool) -> Batch:
    return Batch(Progress("l", 0, 1, until, AT, **more), rows(*offsets))


def events(second: int) -> Progress:
    return Progress("t", 0, 1, 9, AT + second * SECOND)


def told(batches: list[Batch]) -> list[tuple[bool, int, list[int]]]:
    """Return by batch whether it is of the past, up to when it tells, and its offsets."""
    return [
        (
            each.progress.past,
            (each.progress.watermark - AT) // SECOND,
            each.frame["source_offset"].to_list() if each.frame.height else [],
        )
        for each in batches
    ]


def test_who_is_read_to_the_end_comes_to_the_events_at_a_snapshot_and_no_sooner():
    judge = LabelJudge(lambda offsets: {})
    assert told(judge.advance([events(60)], [labels(1, until=1, caught_up=True)])) == [
        (False, 0, [1])
    ]
    assert judge.advance([events(70)], []) == []
    state = pickle.loads(pickle.dumps(judge.freeze()))
    for again in (judge, LabelJudge(lambda offsets: {}, state)):
        assert told(again.advance([events(80)], [])) == [(False, 70, [])]
        (made,) = again.advance([], [labels(2, until=2)])
        assert made.frame["woken_at"].to_list() == [NOON + timedelta(seconds=70)]
        assert not made.progress.idle
        # Behind now: it is waited for.
        again.freeze()
        assert again.advance([events(90)], []) == []
        # What an open transaction holds back is not.
        again.advance([], [labels(until=3, blocked=True)])
        again.freeze()
        assert told(again.advance([events(100)], [])) == [(False, 90, [])]


def test_what_the_table_has_comes_from_there_and_is_not_taken_again():
    asked = []

    def known(offsets):
        asked.append(dict(offsets))
        return {0: rows(4, 6, woken=5)}

    judge = LabelJudge(lambda offsets: {})
    judge.advance([events(60)], [labels(1, until=3, caught_up=True)])
    judge = LabelJudge(known, judge.freeze())
    # Up to where the table is it is behind, whatever the topic says.
    found = judge.advance([events(70)], [labels(4, until=4, caught_up=True)])
    assert told(found) == [(True, 0, [4, 6]), (False, 60, [])]
    assert found[0].frame["woken_at"].to_list() == [NOON + timedelta(seconds=5)] * 2
    judge.freeze()
    assert judge.advance([events(80)], []) == []
    (made,) = judge.advance([], [labels(6, 7, until=7, caught_up=True)])
    assert made.frame["source_offset"].to_list() == [7]
    judge.freeze()
    assert told(judge.advance([events(90)], [])) == [(False, 80, [])]
    assert asked == [{0: 3}]


def test_events_that_nobody_has_heard_of_bring_labels_nowhere():
    judge = LabelJudge(lambda offsets: {})
    (made,) = judge.advance([], [labels(1, until=1, caught_up=True)])
    assert made.frame["woken_at"].to_list() == [None]
    judge.freeze()
    assert judge.advance([], []) == []
    silent = Batch(Progress("l", 1, 2), rows())
    assert [each.progress.watermark for each in judge.advance([], [silent])] == [NO_WATERMARK]


def test_a_state_of_an_unknown_version_is_refused():
    with pytest.raises(ValueError, match="judged labels of state version 9"):
        LabelJudge(lambda offsets: {}, {"version": 9})
