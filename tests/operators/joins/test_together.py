import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.joins import Together
from tests.examples import examples


def rows(step: int, offsets: list[int]) -> pl.DataFrame:
    return pl.DataFrame(
        {"source_offset": offsets, f"made_{step}": [each * 10 + step for each in offsets]},
        schema={"source_offset": pl.Int64(), f"made_{step}": pl.Int64()},
    )


@examples(0.5)
@given(st.integers(1, 3), st.integers(0, 12), st.randoms(use_true_random=False), st.booleans())
def test_each_record_comes_once_all_steps_have_made_its_row(steps, size, random, crash):
    """In whatever order the steps' rows come, cut anywhere, and with a state taken up between."""
    parcels = []
    for step in range(steps):
        offsets = random.sample(range(size), size)
        while offsets:
            cut = random.randrange(1, len(offsets) + 1)
            parcels.append((step, offsets[:cut]))
            offsets = offsets[cut:]
    random.shuffle(parcels)
    held, made, found = Together(steps), [set() for _ in range(steps)], []
    for step, offsets in parcels:
        held.add(step, rows(step, offsets))
        made[step] |= {*offsets}
        if random.random() < 0.5:
            taken = held.take()
            found += [] if taken is None else taken["source_offset"].to_list()
            assert {*found} == set.intersection(*made)
            assert held.waiting == sum(map(len, made)) - steps * len(found)
            if taken is not None:
                assert taken.columns == ["source_offset", *(f"made_{s}" for s in range(steps))]
                assert taken.rows() == sorted(
                    (o, *(o * 10 + s for s in range(steps))) for o in taken["source_offset"]
                )
        if crash:
            held = Together(steps, held.dump())
    taken = held.take()
    found += [] if taken is None else taken["source_offset"].to_list()
    assert sorted(found) == [*range(size)]
    assert held.waiting == 0


def test_a_state_of_another_version_is_refused():
    with pytest.raises(ValueError, match="state version 0"):
        Together(1, {"version": 0, "rows": [None]})
