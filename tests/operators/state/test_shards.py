import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from operators.state.shards import SHARDS, last_of_each, of_shard, span_of_shard


@given(st.sets(st.integers(0, 2**64 - 1)))
def test_every_key_is_of_one_shard(some):
    ordered = np.array(sorted(some | {0, 2**60 - 1, 2**60, 2**64 - 1}), np.uint64)
    spans = [span_of_shard(ordered, shard) for shard in range(SHARDS)]
    assert [span.stop for span in spans[:-1]] == [span.start for span in spans[1:]]
    for shard, span in enumerate(spans):
        assert np.array_equal(
            np.flatnonzero(of_shard(ordered, shard)), np.arange(len(ordered))[span]
        )
    assert (spans[0].start, spans[-1].stop) == (0, len(ordered))


@given(st.lists(st.integers(0, 5)))
def test_the_last_of_each_value(values):
    last = {value: place for place, value in enumerate(values)}
    assert last_of_each(np.array(values, np.int64)).tolist() == [last[v] for v in sorted(last)]
