"""Parsing: bytes to JSON objects, and why some are none.

RFC 8259, read strictly: UTF-8 without a byte order mark, no NaN, no fraction beyond a double. A
name that comes twice in an object is refused, as one reader takes the first value of it and the
next one the last: what was checked would not be what is read.
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import orjson

Json: TypeAlias = dict[str, Any]

_QUOTE, _COLON, _SPACE = b'": '
# Of so many the processor's cache still has the bytes when they are looked at again.
_AT_ONCE: Final = 500
_FEW: Final = 8
# What makes the count of names tell nothing: white space before a colon, and a quote or a colon
# that is written as an escape.
_ODD: Final = re.compile(rb"[ \t\r\n]:|\\u00")
_ESCAPED: Final = b"\\u00"


class _RepeatedError(ValueError):
    pass


def parse(
    bodies: Sequence[bytes],
) -> tuple[list[Json | None], list[tuple[int, str, str]]]:
    """Return an object for each body, None for one that is none; and of these row, code, message.

    The codes are bad_utf8, malformed, duplicate_name and not_an_object.
    """
    found: list[Any] = []
    refused: list[tuple[int, str, str]] = []
    each = map(orjson.loads, bodies)
    while True:
        try:
            # What was read before one that is no JSON stays.
            found.extend(each)
            break
        except orjson.JSONDecodeError as error:
            refused.append((len(found), *_why(bodies[len(found)], error)))
            found.append(None)
    if set(map(type, found)) != {dict}:
        bad = {row for row, _, _ in refused}
        for row, value in enumerate(found):
            if type(value) is not dict and row not in bad:
                refused.append((row, "not_an_object", "The value is JSON, and no object."))
                found[row] = None
    rows = [row for row, value in enumerate(found) if value is not None]
    for begin in range(0, len(rows), _AT_ONCE):
        for row in [*_suspects(rows[begin : begin + _AT_ONCE], bodies, found)]:
            why = _repeats(bodies[row])
            if why:
                refused.append((row, *why))
                found[row] = None
    refused.sort()
    return found, refused


def _why(body: bytes, error: orjson.JSONDecodeError) -> tuple[str, str]:
    try:
        bytes(body).decode()
    except UnicodeDecodeError as bad:
        return "bad_utf8", f"The value is no UTF-8 at byte {bad.start}."
    return "malformed", f"The value is no JSON: {error.msg.partition(':')[0]} at {error.pos}."


def _suspects(
    rows: Sequence[int], bodies: Sequence[bytes], found: Sequence[Any]
) -> Iterator[int]:
    """Yield the rows of objects in which a name may be repeated.

    Of an object with each name once, written out again, there are as many names as in its body; of
    another there are fewer. So it is of several together. Of flat ones it is enough to count: each
    has as many as it has values.
    """
    whole = b"".join([bodies[row] for row in rows])
    objects = [found[row] for row in rows]
    names, odd = _names(whole)
    if not odd:
        if names == sum(map(len, objects)):
            return
        odd = _ESCAPED in whole
        if not odd and names == _names(orjson.dumps(objects))[0]:
            return
    if odd or len(rows) <= _FEW:
        for row in rows:
            body = bodies[row]
            if _ODD.search(body) or _names(orjson.dumps(found[row]))[0] != _names(body)[0]:
                yield row
        return
    middle = len(rows) // 2
    yield from _suspects(rows[:middle], bodies, found)
    yield from _suspects(rows[middle:], bodies, found)


def _names(text: bytes) -> tuple[int, bool]:
    """Return how many colons are behind a quote, and whether any is behind white space.

    By NumPy, which takes a tenth of the time of searching for either.
    """
    codes = np.frombuffer(text, np.uint8)
    before, colons = codes[:-1], codes[1:] == _COLON
    behind = colons & (before == _QUOTE)
    return int(np.count_nonzero(behind)), bool((colons & (before <= _SPACE)).any())


def _repeats(body: bytes) -> tuple[str, str] | None:
    def once(pairs: list[tuple[str, Any]]) -> None:
        if len({name for name, _ in pairs}) < len(pairs):
            raise _RepeatedError

    try:
        # Numbers are not made: of a long one that would take a while.
        json.loads(bytes(body), object_pairs_hook=once, parse_int=len, parse_float=len)
    except _RepeatedError:
        return "duplicate_name", "An object of the value has a name twice."
    except RecursionError:
        return "malformed", "The value is nested too deep."
    return None
