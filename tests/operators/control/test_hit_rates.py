"""When a rule has left its bounds, held to a count over all that is within them."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from operators.control.hit_rates import RECENT, HitRates
from operators.records.tables import TIME
from tests.operators.rules.samples import rule

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOW = 10**9 * 60
RULE = rule(bounds={"hits_per_1000": 300, "over": "5m", "at_least": 4})


def frame(minutes: list[int], kafka: int = NOW) -> pl.DataFrame:
    times = [EPOCH + timedelta(minutes=each, seconds=30) for each in minutes]
    known = EPOCH + timedelta(microseconds=kafka)
    rows = {"event_time": times, "kafka_timestamp": [known] * len(times)}
    return pl.DataFrame(rows, {"event_time": TIME, "kafka_timestamp": TIME}).with_columns(
        rule_id=pl.lit("r")
    )


events = st.lists(st.tuples(st.integers(100, 112), st.booleans()), max_size=8)


@given(st.lists(events, max_size=8))
def test_a_rule_is_named_once_when_its_share_of_the_last_minutes_is_too_large(
    batches: list[list[tuple[int, bool]]],
) -> None:
    rates, seen, left = HitRates(), [], False
    for batch in batches:
        seen += batch
        hits = frame([minute for minute, hit in batch if hit])
        named = [*rates.add([RULE], frame([minute for minute, _ in batch]), hits, NOW)]
        within = []
        if seen:
            newest = max(minute for minute, _ in seen)
            # What has come behind the newest by more than that never counts again.
            seen = [each for each in seen if each[0] > newest - 5]
            within = [hit for _, hit in seen]
        over = len(within) >= 4 and sum(within) * 1000 > 300 * len(within)
        assert bool(named) == (over and bool(batch) and not left)
        for found in named:
            assert found.rule is RULE
            assert f"{sum(within)} of {len(within)} within 5m, more than" in found.why
            assert not found.silent
            left = True


def test_what_is_read_anew_and_rules_that_are_not_live_or_bounded_are_not_counted() -> None:
    rates, rows = HitRates(), frame([1] * 9)
    for each in (rule(), RULE.model_copy(update={"status": "shadow"})):
        assert [*rates.add([each], rows, rows, NOW)] == []
    old = frame([1] * 9, NOW - RECENT)
    assert [*rates.add([RULE], old, old, NOW)] == []
    # The same rule that is put to work again counts from nothing.
    assert len([*rates.add([RULE], rows, rows, NOW)]) == 1
    assert [*rates.add([RULE], rows, rows, NOW)] == []
    assert len([*rates.add([RULE.model_copy()], rows, rows, NOW)]) == 1


QUIET = rule(bounds={"least_per_1000": 300, "over": "5m", "at_least": 4})


@given(st.lists(events, max_size=10))
def test_a_rule_is_named_each_time_that_it_falls_silent_and_not_before_it_was_counted_for_so_long(
    batches: list[list[tuple[int, bool]]],
) -> None:
    rates, seen, silent = HitRates(), list[tuple[int, bool]](), False
    first = None
    for batch in batches:
        seen += batch
        hits = frame([minute for minute, hit in batch if hit])
        named = [*rates.add([QUIET], frame([minute for minute, _ in batch]), hits, NOW)]
        if not batch:
            assert named == []
            continue
        first = min(first or 10**9, *(minute for minute, _ in batch))
        newest = max(minute for minute, _ in seen)
        seen = [each for each in seen if each[0] > newest - 5]
        within = [hit for _, hit in seen]
        if len(within) < 4:
            assert named == []
            continue
        few = sum(within) * 1000 < 300 * len(within)
        now = few and (silent or first <= newest - 5)
        assert [each.silent for each in named] == [True] * (now and not silent)
        for found in named:
            assert found.rule is QUIET
            assert found.why == (
                f"{sum(within)} of {len(within)} within 5m, fewer than 300 of 1,000"
            )
        silent = now


def test_bounds_that_nothing_is_within_are_none() -> None:
    with pytest.raises(ValidationError, match="least_per_1000 is not below hits_per_1000"):
        rule(bounds={"least_per_1000": 5, "hits_per_1000": 5, "over": "5m"})
