"""What goes wrong on the way: disorder, repeats, damaged bytes, forbidden values."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from operators.columns.arrays import Int64s
from ops.simulate.encode import BY_ID
from ops.simulate.params import Troubles

SECOND_US: Final = 1_000_000
UNKNOWN_ID: Final = b"\0\xff\xff\xff\xfe"

# Kinds of records, by number: "ok", then the troubles under the names of their shares.
KINDS: Final = ("ok", *(entry.name for entry in fields(Troubles)))
NUMBER: Final = {kind: number for number, kind in enumerate(KINDS)}
# The code with which the decoder refuses each damaged kind.
DECODE_CODES: Final = {
    "malformed": "malformed",
    "truncated": "malformed",
    "truncated_frame": "truncated_frame",
    "bad_magic": "bad_magic",
    "unknown_schema": "unknown_schema",
    "bad_utf8": "bad_utf8",
    "null": "null_value",
    "empty": "empty",
}
# Damage to the frame needs a frame: those kinds are framed by id.
_FRAMED: Final = ("truncated_frame", "bad_magic", "unknown_schema")


class Breach(NamedTuple):
    """Values, by column, that the contract forbids, and the code with which they are refused."""

    values: Mapping[str, object]
    code: str


class Plan(NamedTuple):
    """What befalls n events: kinds and delays of shape (n,), and the m that come twice."""

    kind: npt.NDArray[np.int8]
    delay: Int64s
    repeated: Int64s
    repeat_delay: Int64s


def plan(n: int, troubles: Troubles, rng: np.random.Generator) -> Plan:
    """Draw what befalls each of `n` events; delays in µs.

    A duplicate is an intact event, on time or not, that comes twice; its own kind stays.
    """
    shares = [getattr(troubles, entry.name) for entry in fields(troubles)]
    kind = np.searchsorted(np.cumsum(shares), rng.random(n), side="right") + 1
    kind[kind == len(KINDS)] = 0
    repeated = np.flatnonzero(kind == NUMBER["duplicate"])
    kind[repeated] = 0

    delay = np.zeros(n, np.int64)
    late, disordered = (np.flatnonzero(kind == NUMBER[k]) for k in ("late", "out_of_order"))
    delay[disordered] = rng.integers(SECOND_US, 29 * SECOND_US, len(disordered))
    delay[late] = _spread(300, 6 * 3_600, len(late), rng)
    return Plan(kind.astype(np.int8), delay, repeated, _spread(1, 600, len(repeated), rng))


def _spread(low: float, high: float, n: int, rng: np.random.Generator) -> Int64s:
    """Draw n times between `low` and `high` seconds, in µs, evenly by magnitude."""
    seconds = np.exp(rng.uniform(np.log(low), np.log(high), n))
    return (seconds * SECOND_US).astype(np.int64) + 1


def break_contract(
    events: pl.DataFrame, kind: npt.NDArray[np.int8], breaches: Sequence[Breach]
) -> tuple[pl.DataFrame, npt.NDArray[np.int16]]:
    """Return the events with forbidden values in the rows of kind "contract".

    The second array holds, for each row, the position in `breaches` plus one, or 0.
    """
    rows = np.flatnonzero(kind == NUMBER["contract"])
    breach = np.zeros(len(kind), np.int16)
    breach[rows] = np.arange(len(rows)) % len(breaches) + 1 if breaches else 0
    for number, each in enumerate(breaches, 1):
        here = np.flatnonzero(breach == number)
        for column, value in each.values.items() if len(here) else ():
            broken = events[column].scatter(here, [value] * len(here))
            events = events.with_columns(broken.alias(column))
    return events, breach


def framing_for(
    kind: npt.NDArray[np.int8], framing: npt.NDArray[np.int8]
) -> npt.NDArray[np.int8]:
    """Return the framing, by id where the trouble is one of the frame."""
    return np.where(np.isin(kind, [NUMBER[k] for k in _FRAMED]), BY_ID, framing).astype(np.int8)


def damage(
    values: pl.Series,
    frame_size: npt.NDArray[np.int64],
    kind: npt.NDArray[np.int8],
    texts: pl.Series,
    ids: pl.Series,
    rng: np.random.Generator,
) -> pl.Series:
    """Return the values, those of the decode kinds damaged; `frame_size` in bytes.

    `texts` and `ids` are what a string field of each has, and the id: found in the bytes they
    tell where a text is that can be spoiled, and a length that can be.
    """
    rows = np.flatnonzero(np.isin(kind, [NUMBER[k] for k in DECODE_CODES]))
    if not len(rows):
        return values
    json = f'{{"{ids.name}":'.encode()
    # One at a time is fine: these are a handful in a thousand.
    luck = rng.random(len(rows))
    damaged = [
        _damaged(value[:size], value[size:], KINDS[which], text, name, json, chance)
        for value, size, which, text, name, chance in zip(
            values.gather(rows).to_list(),
            frame_size[rows].tolist(),
            kind[rows].tolist(),
            texts.gather(rows).cast(pl.Binary()).to_list(),
            ids.gather(rows).cast(pl.Binary()).to_list(),
            luck.tolist(),
            strict=True,
        )
    ]
    order = np.arange(len(values))
    order[rows] = len(values) + np.arange(len(rows))
    return pl.concat([values, pl.Series(damaged, dtype=pl.Binary())]).gather(order)


def _damaged(
    frame: bytes, body: bytes, kind: str, text: bytes, name: bytes, json: bytes, luck: float
) -> bytes | None:
    """Return one damaged value; `luck` in [0, 1) chooses how."""
    match kind:
        case "null":
            return None
        case "empty":
            return b""
        case "truncated_frame":
            return frame[: 1 + int(luck * (len(frame) - 1))]
        case "bad_magic":
            return json if luck < 0.5 else b"\x07" + frame[1:] + body
        case "unknown_schema":
            return (UNKNOWN_ID if luck < 0.5 else b"\1" + b"\xee" * 16) + body
        case "bad_utf8":
            # The same length, so that everything around it still decodes.
            at = body.index(text) + (len(text) > 1)
            spoilt = b"\xff\xfe\xff"[: len(text) - 1 or 1]
            return frame + body[:at] + spoilt + body[at + len(spoilt) :]
        case "truncated":
            return frame + body[: int((0.1 + 0.7 * luck) * len(body))]
        case _:
            # An id that is longer than the payload, of negative length, or whose length is no
            # number of 64 bits.
            length = (b"\xfe\xff\xff\xff\x7e", b"\x01", b"\xff" * 12)[int(luck * 3)]
            at = body.index(name)
            return frame + body[: at - (1 if len(name) < 64 else 2)] + length + body[at:]
