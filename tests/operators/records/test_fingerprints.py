import uuid
from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.records.fingerprints import (
    KIND,
    VERSION,
    fingerprint,
    fingerprints,
    kind_of,
    version_of,
)

WORDS = st.sampled_from(
    ("field", "amount_minor", "line_1", "line2", "sha256", "at", "goes past", "bytes", "items.")
)
NUMBERS = st.one_of(
    st.integers().map(str),
    st.integers(0, 10**9).map("{:,}".format),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.binary(min_size=1, max_size=4).map(lambda each: f"0x{each.hex()}"),
    st.uuids().map(str),
    st.datetimes(timezones=st.just(UTC)).map(datetime.isoformat),
)
PARTS = st.lists(st.tuples(WORDS, NUMBERS, NUMBERS), min_size=1, max_size=6)
NAMES = st.sampled_from(["payments", "clicks", "decode", "contract", "code", "7", ""])


def of(message: str, code: str = "malformed", schema_id: str | None = "7") -> str:
    return fingerprint(kind_of("payments", "decode", code, schema_id, message))


@given(PARTS)
def test_what_varies_between_records_does_not_tell_them_apart(parts):
    ones = " ".join(f"{word} {one}" for word, one, _ in parts)
    others = " ".join(f"{word} {other}" for word, _, other in parts)
    assert of(ones) == of(others)


@given(PARTS, st.data())
def test_another_word_is_another_kind(parts, data):
    at = data.draw(st.integers(0, len(parts) - 1))
    word = data.draw(WORDS.filter(lambda each: each != parts[at][0]))
    changed = [(word, one) if i == at else (own, one) for i, (own, one, _) in enumerate(parts)]
    message = " ".join(f"{own} {one}" for own, one, _ in parts)
    assert of(message) != of(" ".join(f"{own} {one}" for own, one in changed))


@given(st.tuples(*[NAMES] * 4), st.tuples(*[NAMES] * 4))
def test_each_part_counts_in_its_own_place(one, other):
    texts = [fingerprint(kind_of(*each, "message")) for each in (one, other)]
    assert (texts[0] == texts[1]) == (one == other)


@pytest.mark.parametrize(
    ("message", "template"),
    [
        ("field line_1: a length goes past the end", None),
        ("amount_minor: 0 to 1000000000000", "amount_minor: # to #"),
        ("latitude: -90.5 to 90, or null", "latitude: # to #, or null"),
        ("from 2000-01-01 to 2100-01-01", "from # to #"),
        ("at offset 1,024 of 0xFF, 12ms", "at offset # of #, #ms"),
        ("items.3.amount", "items.#.amount"),
        ("A string is not UTF-8.", None),
        ("3-5 of ISO-4217, -7", "#-# of ISO-4217, #"),
        (f"schema {uuid.UUID(int=5)} is gone", "schema # is gone"),
        ("currency: matches [A-Z]{3}", "currency: matches [A-Z]{#}"),
    ],
)
def test_what_is_taken_out_of_a_message(message, template):
    assert kind_of("payments", "contract", "code", None, message).message == (
        template or message
    )


def test_an_id_that_is_no_schemas_is_of_the_payload_and_no_kind_of_its_own():
    why = "There is no schema of this id."
    assert of(why, "unknown_schema", "7") == of(why, "unknown_schema", "4711")
    assert of("x", "malformed", "7") != of("x", "malformed", "4711")
    assert of("x", "malformed", "7") != of("x", "malformed", None)


def test_fingerprints_are_those_of_every_release():
    """Rows have them for good: a change of these needs another version beside version 1."""
    assert VERSION == 1
    early = "Not a record of its schema: field amount_minor: the data ends too early."
    assert of(early, schema_id="2130706433") == "1:0eb1706886dfa9ad"
    kind = kind_of("clicks", "rule", "rule_failed:é", None, "version 3 raised ComputeError", 1)
    assert fingerprint(kind, 1) == "1:97a73c270c2df8fe"


def test_what_is_no_fingerprint_has_no_version():
    assert version_of("1:0123456789abcdef") == 1
    assert version_of("12:0123456789abcdef") == 12
    for text in ("", "1:", "1:0123456789ABCDEF", "0123456789abcdef", "1:0123456789abcdef0"):
        assert version_of(text) is None
    with pytest.raises(KeyError):
        kind_of("payments", "decode", "empty", None, "x", 2)


ROWS = st.lists(st.tuples(NAMES, NAMES, st.none() | NAMES, NAMES), max_size=20)


@given(ROWS)
def test_a_frame_has_of_each_row_what_the_row_has_alone(rows):
    frame = pl.DataFrame(rows, schema=dict.fromkeys(KIND, pl.String), orient="row")
    found = fingerprints("payments", frame)
    assert found.to_list() == [fingerprint(kind_of("payments", *row)) for row in rows]
    assert (found.name, found.dtype) == ("fingerprint", pl.String)
