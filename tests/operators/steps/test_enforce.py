"""What of a batch goes on as it came: the records that are good, by their offsets."""

import numpy as np
import polars as pl
import pytest

from operators.records.batches import Batch, Progress, RawBatch
from operators.steps.enforce import passed


@pytest.mark.parametrize("offsets", [range(7, 107), [*range(7, 50), *range(60, 117)]])
@pytest.mark.parametrize("bad", [[], [0], [99], [*range(3, 90)], [*range(100)]])
def test_those_that_are_good_pass_whether_or_not_offsets_have_gaps(offsets, bad):
    every = np.array(offsets, np.int64)
    values = [b"%d" % offset for offset in every]
    raw = RawBatch(
        Progress("orders", 1, 4, int(every[-1])), every, every * 10, values, values,
        [None] * 100,
    )  # fmt: skip
    good = np.delete(every, bad)
    found = passed(raw, Batch(raw.progress, pl.DataFrame({"source_offset": good})))
    assert found.offsets.tolist() == good.tolist()
    assert found.timestamps.tolist() == (good * 10).tolist()
    assert [int(value or b"") for value in found.values] == good.tolist()
    assert (len(found.keys), len(found.headers)) == (len(good), len(good))


def test_of_no_records_none_pass():
    raw = RawBatch(Progress("orders", 1, 4, 5))
    nothing = pl.DataFrame({"source_offset": []}, {"source_offset": pl.Int64()})
    assert len(passed(raw, Batch(raw.progress, nothing))) == 0
