"""Names that come twice, among many objects of every way to write them."""

import pytest

from operators.json_schema.parsing import parse

ONCE = (
    b'{"a":1,"b":"2"}',
    b'{"a":{"b":[{"c":1},{"c":2}]},"b":{}}',
    b'{"a" : 1, "b"\t:\n2}',
    b'{"a":"\\":","b":" :"}',
    b'{"\\u0061":1,"b":"\\u0022:"}',
    b"{}",
)
TWICE = (
    b'{"a":1,"a":2}',
    b'{"a":{"b":[{"c":1,"c":2}]}}',
    b'{"a":1,"a" : 2}',
    b'{"a":1,"\\u0061":2}',
    b'{"a":"\\":","a":1}',
)


@pytest.mark.parametrize("kinds", [ONCE, *[(each,) for each in ONCE]])
def test_a_name_that_comes_twice_is_found_among_a_thousand_objects(kinds: tuple[bytes]) -> None:
    bodies = [kinds[n % len(kinds)] for n in range(1_200)]
    bad = {3: TWICE[0], 499: TWICE[1], 500: TWICE[2], 700: TWICE[3], 1_199: TWICE[4]}
    for row, body in bad.items():
        bodies[row] = body
    found, refused = parse(bodies)
    assert refused == [
        (row, "duplicate_name", "An object of the value has a name twice.") for row in bad
    ]
    assert [row for row, value in enumerate(found) if value is None] == [*bad]


def test_one_that_has_no_name_twice_is_no_reason_to_refuse_its_neighbours() -> None:
    assert parse([*ONCE, TWICE[2], *ONCE])[1] == [
        (len(ONCE), "duplicate_name", "An object of the value has a name twice.")
    ]
    assert parse(ONCE)[1] == parse([])[1] == []
