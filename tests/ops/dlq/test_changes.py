"""What an edit makes of decoded records: patches, assignments, and what differs."""

import json
from typing import Any

import jsonpatch
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.records.tables import TIME
from ops.dlq.changes import MISSING, Assignments, ChangeError, changes, patch

LEAVES = st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from(["", "a", "b"])
NAMES = st.sampled_from(["x", "y", "z"])
RECORDS = st.dictionaries(
    NAMES,
    st.recursive(
        LEAVES,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
        max_leaves=6,
    ),
)
KINDS = {"country": pl.String(), "amount": pl.Int64(), "rate": pl.Float64(), "at": TIME}


def flat(value: Any, path: str = "") -> dict[str, str]:
    """Return each leaf by its place; an empty object or list and a list's length are leaves."""
    if isinstance(value, dict) and value:
        found = (flat(each, f"{path}.{name}") for name, each in value.items())
    elif isinstance(value, list) and value:
        found = (flat(each, f"{path}[{n}]") for n, each in enumerate(value))
    else:
        return {path: json.dumps(value)}
    return {place: leaf for each in found for place, leaf in each.items()}


@given(RECORDS, RECORDS)
def test_what_differs_is_all_that_differs_and_a_patch_makes_it(before, after):
    text = json.dumps(jsonpatch.make_patch(before, after).patch)
    assert flat(patch(text)(before)) == flat(after)
    found = changes(before, after)
    assert bool(found) == (flat(before) != flat(after))
    for change in found:
        assert change.before is MISSING or change.after is MISSING or (
            flat(change.before) != flat(change.after)
        )  # fmt: skip
        assert set(change.to_json()) - {"field"} <= {"before", "after"}
    told = [f".{change.field}" for change in found]
    left, right = flat(before), flat(after)
    for place in left.keys() | right.keys():
        if left.get(place) != right.get(place):
            # What was empty and is not, or the other way round, is told by what is in it.
            assert any(place.startswith(t) or t.startswith(place) for t in told), place


def test_a_change_tells_both_sides_and_leaves_out_the_one_that_is_not_there():
    before = {"a": 1, "b": [{"c": 1}, 2], "d": True}
    after = {"a": 1.0, "b": [{"c": 2}, 2], "d": 1, "e": None}
    assert [change.to_json() for change in changes(before, after)] == [
        {"field": "b[0].c", "before": 1, "after": 2},
        {"field": "d", "before": True, "after": 1},
        {"field": "e", "after": None},
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "this is no JSON patch"),
        ("5", "this is no JSON patch"),
        ('[{"op": "mend", "path": "/a"}]', "this is no JSON patch"),
        ('[{"op": "replace", "path": "a", "value": 1}]', "this is no JSON patch"),
        ('[{"op": "replace", "path": "/b", "value": 1}]', "the patch does not fit"),
        ('[{"op": "remove", "path": "/a/0"}]', "the patch does not fit"),
        ('[{"op": "test", "path": "/a", "value": 2}]', "the patch does not fit"),
    ],
)
def test_a_patch_that_is_none_or_does_not_fit_says_so(text, why):
    with pytest.raises(ChangeError, match=f"^{why}") as error:
        patch(text)({"a": 1})
    assert len(str(error.value).splitlines()) == 1


ROWS = st.lists(
    st.tuples(
        st.none() | st.sampled_from([" be", "BE", "de ", ""]),
        st.integers(-5, 5),
        st.none() | st.sampled_from([0.5, float("inf")]),
        st.integers(0, 10**15),
    ),
    max_size=8,
)


@given(ROWS)
def test_assignments_change_each_record_as_one_by_one(rows):
    frame = pl.DataFrame(rows, schema={**KINDS, "at": pl.Int64()}, orient="row").with_columns(
        pl.col("at").cast(TIME)
    )
    texts = [
        "country = upper(trim(country))",
        "amount = CASE WHEN amount < 0 THEN -amount ELSE amount END",
        "rate=1",
    ]
    made = Assignments(texts, KINDS).of(frame)
    for (country, amount, rate, _), found in zip(rows, made, strict=True):
        wanted = {
            "country": country and country.strip(" ").upper(),
            "amount": abs(amount),
            "rate": 1.0,
        }
        before = {"country": country, "amount": amount, "rate": rate}
        assert found == {n: v for n, v in wanted.items() if v != before[n]}


def test_what_is_assigned_is_json_as_a_record_tells_it():
    frame = pl.DataFrame(
        {"country": ["a"], "amount": [1], "rate": [0.5], "at": [0]},
        schema_overrides={"at": TIME},
    )
    texts = ["at = CAST('2026-06-30 12:00:00.5' AS TIMESTAMP)", "rate = rate / 0"]
    assert Assignments(texts, KINDS).of(frame) == [
        {"at": "2026-06-30T12:00:00.500000+00:00", "rate": "inf"}
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("country", "'country' is no assignment such as country = upper"),
        ("country == 'a'", "is no assignment"),
        ("land = 'a'", "there is no field land; there are country, amount"),
        ("country = upper(land)", "there is no field land"),
        ("country = upper(", "country = upper"),
        ("amount = sum(amount)", "looks at more than one event"),
        ("at = now()", "looks at the clock"),
        ("amount = country", "conversion from `str` to `i64` failed"),
    ],
)
def test_an_assignment_that_cannot_be_says_why(text, why):
    frame = pl.DataFrame({"country": ["a"], "amount": [1], "rate": [0.5], "at": [None]})
    with pytest.raises(ChangeError) as error:
        Assignments([text], KINDS).of(frame.cast(KINDS))
    assert why in str(error.value)
    assert len(str(error.value).splitlines()) == 1
