"""When the last window of a time has closed."""

from hypothesis import given
from hypothesis import strategies as st

from operators.windows import Windows, agg
from operators.windows.assigners import Session, Sliding

_UNITS = st.integers(1, 50)


@given(_UNITS, _UNITS, st.integers(0, 60), st.integers(0, 40), st.integers(-500, 500))
def test_it_is_when_the_last_window_with_it_ends_and_its_lateness(
    every: int, more: int, offset: int, lateness: int, time: int
) -> None:
    window = Sliding(every + more, every, offset)
    windows = Windows(("key",), window, {"n": agg.count()}, lateness=lateness)
    starts = [
        start
        for start in range(offset - 1_000 * every, time + 1, every)
        if start <= time < start + window.size
    ]
    assert windows.closed_by(time) == max(starts) + window.size + lateness


@given(_UNITS, _UNITS, st.integers(0, 40), st.integers(-500, 500))
def test_of_a_session_of_it_alone_it_is_no_sooner(
    step: int, more: int, lateness: int, time: int
) -> None:
    window = Session(step + more, step)
    windows = Windows(("key",), window, {"n": agg.count()}, lateness=lateness)
    assert windows.closed_by(time) >= time + window.gap + lateness
