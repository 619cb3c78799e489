import pickle

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from operators.windows.timers import Timers

TIMES = st.lists(st.integers(-50, 50), max_size=5)
ADDED = st.tuples(
    TIMES, st.lists(st.tuples(st.integers(-50, 50), st.integers(1, 9)), max_size=4)
)


@given(
    st.lists(
        st.tuples(st.just("add"), ADDED)
        | st.tuples(st.sampled_from(["forget", "resume"]), st.integers(-60, 60))
    )
)
def test_dues_are_those_of_sets(steps):
    dues, times, needed = Timers(), set(), []
    for step, value in steps:
        if step == "add":
            due, last = value
            times |= set(due)
            needed += last
            columns = np.array(last, np.int64).reshape(-1, 2).T
            dues.add(np.array(due, np.int64), columns[0], columns[1])
        elif step == "forget":
            times = {time for time in times if time > value}
            needed = [(until, rows) for until, rows in needed if until > value]
            dues.forget(value)
        else:
            dues = Timers.load(pickle.loads(pickle.dumps(dues.dump())))
        assert dues.next == min(times, default=None)
        assert dues.rows == sum(rows for _, rows in needed)
