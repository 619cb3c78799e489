"""JSON records against a reference, whatever stands beside them."""

import json

from hypothesis import given
from hypothesis import strategies as st

from operators.json_schema import JsonDecoder, Newest
from tests.operators.json_schema.reference import BODIES, DTYPES, VERSION, good


@given(st.lists(BODIES, max_size=12))
def test_the_verdict_is_the_references_whatever_stands_beside_a_record(
    bodies: list[bytes],
) -> None:
    found = JsonDecoder(Newest(VERSION), DTYPES).decode(bodies, [None] * len(bodies))
    expected = [row for row, body in enumerate(bodies) if body and good(body)]
    assert sorted(found.rows.tolist()) == expected
    refused = [each.row for each in found.refusals]
    assert sorted(refused + expected) == list(range(len(bodies)))
    frame, rows = found.in_order()
    for row, got in zip(rows.tolist(), frame.iter_rows(named=True), strict=True):
        record = json.loads(bodies[row])
        assert got["a"] == record["a"]
        assert got["b"] == record.get("b")
        assert got["c"] == (None if record.get("c") is None else float(record["c"]))
        assert got["f"] == record.get("f")
        for name in "hi":
            told = record.get(name)
            assert (None if got[name] is None else json.loads(got[name])) == told
        if record.get("g") is not None:
            assert got["g"]["x"] == record["g"]["x"]
