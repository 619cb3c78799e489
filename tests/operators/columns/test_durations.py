"""Durations as texts: those of settings, and those that people read."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.streams.settings import parse_duration
from operators.columns.durations import in_short, in_words, micros


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-1, "0 s"), (0.4, "0 s"), (119, "119 s"), (120, "2 min"), (7_199, "120 min"),
        (7_200, "2 h"), (172_799, "48 h"), (172_800, "2 d"), (9_000_000_000, "104,167 d"),
    ],
)  # fmt: skip
def test_people_read_one_unit(seconds: float, said: str) -> None:
    assert in_words(seconds) == said


@given(st.integers(0, 10**6), st.sampled_from([1, 60, 3_600, 86_400]))
def test_what_is_written_as_a_setting_is_read_as_it_was(count: int, size: int) -> None:
    # Of six digits, which no setting has more of.
    duration = timedelta(seconds=count % 1_000 * size)
    assert parse_duration(in_short(duration)) == duration
    assert micros(in_short(duration)) == micros(duration)
