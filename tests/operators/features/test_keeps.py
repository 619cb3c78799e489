"""What a state says that it holds, and which features it then is enough for."""

import pickle
from functools import partial
from pathlib import Path

import polars as pl
import pytest

from flows.streams import PAYMENTS
from operators.features import Feature, Features, StateLacksFeaturesError
from tests.operators.durable import Durable, End
from tests.operators.features.test_against_the_model import BOUND, COLUMNS, EPOCH, SOURCE

RELEASED = Path(__file__).parent / "version_2"


def feature(name: str, aggregate: str = "count", **stated) -> Feature:
    given = {"name": name, "version": 1, "description": "-", "by": "card", "horizon": "10m"}
    return Feature.model_validate(given | {"aggregate": aggregate} | stated)


TEN = feature("ten")
HOUR = feature("hour", horizon="1h")
SUM = feature("sum", "sum", of="amount")
SMALL = feature("small", where="amount < 200")
LAST = feature("last", "last_time")
ALL = feature("all", horizon=None)
MEAN = feature("mean", "mean", of="amount", horizon=None)
SHOP = feature("shop", by=["card", "shop"])


@pytest.mark.parametrize(
    ("before", "after", "lacking"),
    [
        ([TEN], [TEN], ()),
        # A horizon that is no longer than another, and times, are known of the same events.
        ([HOUR], [HOUR, TEN, LAST], ()),
        ([HOUR, SUM, ALL], [TEN], ()),
        ([ALL, MEAN], [ALL], ()),
        ([MEAN], [feature("sums", "sum", of="amount", horizon=None)], ()),
        # Another version, name or description of the same changes nothing.
        ([TEN], [feature("other", version=2, description="...")], ()),
        ([TEN], [HOUR], ("hour",)),
        ([TEN], [feature("ten", kept="1h")], ("ten",)),
        ([TEN], [TEN, SUM], ("sum",)),
        ([TEN], [SMALL], ("small",)),
        ([TEN], [ALL, MEAN, TEN], ("all", "mean")),
        ([TEN], [SHOP], ("shop",)),
        ([SMALL], [feature("small", where="amount < 300")], ("small",)),
        ([], [TEN], ("ten",)),
        ([TEN], [], ()),
    ],
)
def test_a_state_is_enough_for_what_it_has_all_of(before, after, lacking):
    row = {"event_time": EPOCH, "card": "a", "shop": "x", "amount": 1}
    frame = pl.DataFrame([row], schema=COLUMNS)
    store = Durable(partial(Features(SOURCE, tuple(before)).make, BOUND))
    for _ in range(3):
        store.begin()
        store.state.advance(frame)
        store.end(End())
    now = Features(SOURCE, tuple(after))
    assert now.keeps.lacking(store.head) == lacking
    store.make = partial(now.make, BOUND)
    if lacking:
        with pytest.raises(StateLacksFeaturesError, match=", ".join(lacking)) as raised:
            store.resume()
        assert raised.value.features == lacking
        return
    store.resume()
    found = store.state.advance(frame).to_dicts()[0]
    assert {"ten": 4, "all": 3, "mean": 1.0, "sums": 3, "other": 4, "last": EPOCH}.items() >= {
        each.name: found[each.name] for each in after if each.name != "hour"
    }.items()


def test_a_definition_tells_one_set_of_features_from_another():
    told = {
        frozenset(Features(SOURCE, stated).definitions.items())
        for stated in [
            *((), (TEN,), (HOUR,), (TEN, HOUR), (SUM,), (SMALL,), (MEAN,)),
            *((feature("ten", inclusive=False),), (feature("ten", kept="1h"),)),
        ]
    }
    assert len(told) == 9
    both = Features(SOURCE, (TEN,), added=(HOUR,))
    assert both.definitions == Features(SOURCE, (HOUR, TEN)).definitions
    assert len(PAYMENTS.features.definitions) == 9
    state = PAYMENTS.features.make(BOUND)
    assert state.head()["features"] == PAYMENTS.features.definitions


def test_a_state_of_the_release_before_goes_on_as_if_nothing_had_happened():
    """It is of 300 payments of 40 cards, as that release left it, with what it made of the rest."""
    rows = pl.read_parquet(RELEASED / "payments.parquet")
    expected = pl.read_parquet(RELEASED / "expected.parquet")
    written = pickle.loads((RELEASED / "state.pickle").read_bytes())
    store = Durable(partial(PAYMENTS.features.make, BOUND))
    store.head, store.entries = written["head"], written["entries"]
    assert store.head["changes"] is not None
    assert PAYMENTS.features.keeps.lacking(store.head) == ()
    store.resume()
    made = []
    # Its entries are replaced one by one: for a while there are some of both releases.
    for start in range(300, 400, 5):
        store.begin()
        made.append(store.state.advance(rows[start : start + 5]))
        store.end(End(resume=start % 15 == 0))
    assert pl.concat(made).select(expected.columns).equals(expected)
    versions = [entry.get("version") for entry in store.entries.values()]
    assert set(versions) == {None, 3}


def test_a_state_of_the_release_before_lacks_what_it_did_not_know():
    head = pickle.loads((RELEASED / "state.pickle").read_bytes())["head"]
    small = feature("small", by="card_id", where="amount_minor < 200")
    half = feature("half", by="card_id", horizon="30m")
    own = PAYMENTS.features
    more = Features(own.source, own.stated, own.coded, (small, half), own.former)
    assert more.keeps.lacking(head) == ("small",)
