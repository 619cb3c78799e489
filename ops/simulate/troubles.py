"""What goes wrong on the way: disorder, repeats, damaged bytes, forbidden values."""

from dataclasses import fields
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from ops.simulate.encode import BY_ID
from ops.simulate.params import Troubles
from ops.simulate.world import Ints

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
    """A value that the contract forbids, and the code with which it is refused."""

    column: str
    value: object
    code: str


BREACHES: Final = (
    Breach("amount_minor", -1_250, "amount_range"),
    Breach("amount_minor", 10**12 + 1, "amount_range"),
    Breach("country", "??", "country_format"),
    Breach("currency", "euro", "currency_format"),
    Breach("merchant_category", "shop", "category_format"),
    Breach("latitude", 123.4, "coordinate_range"),
    Breach("payment_id", "", "id_length"),
    # In the year 2112: a watermark that believed it would close every window at once.
    Breach("event_time", 4_500_000_000 * SECOND_US, "event_time_range"),
)


class Plan(NamedTuple):
    """What befalls n payments: kinds and delays of shape (n,), and the m that come twice."""

    kind: npt.NDArray[np.int8]
    delay: Ints
    repeated: Ints
    repeat_delay: Ints


def plan(n: int, troubles: Troubles, rng: np.random.Generator) -> Plan:
    """Draw what befalls each of `n` payments; delays in µs.

    A duplicate is an intact payment, on time or not, that comes twice; its own kind stays.
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


def _spread(low: float, high: float, n: int, rng: np.random.Generator) -> Ints:
    """Draw n times between `low` and `high` seconds, in µs, evenly by magnitude."""
    seconds = np.exp(rng.uniform(np.log(low), np.log(high), n))
    return (seconds * SECOND_US).astype(np.int64) + 1


def break_contract(
    payments: pl.DataFrame, kind: npt.NDArray[np.int8]
) -> tuple[pl.DataFrame, npt.NDArray[np.int8]]:
    """Return the payments with forbidden values in the rows of kind "contract".

    The second array holds, for each row, the position in BREACHES plus one, or 0.
    """
    rows = np.flatnonzero(kind == NUMBER["contract"])
    breach = np.zeros(len(kind), np.int8)
    breach[rows] = np.arange(len(rows)) % len(BREACHES) + 1
    for number, (column, value, _) in enumerate(BREACHES, 1):
        here = np.flatnonzero(breach == number)
        if len(here):
            broken = payments[column].scatter(here, [value] * len(here))
            payments = payments.with_columns(broken.alias(column))
    return payments, breach


def framing_for(
    kind: npt.NDArray[np.int8], framing: npt.NDArray[np.int8]
) -> npt.NDArray[np.int8]:
    """Return the framing, by id where the trouble is one of the frame."""
    return np.where(np.isin(kind, [NUMBER[k] for k in _FRAMED]), BY_ID, framing).astype(np.int8)


def damage(
    values: pl.Series,
    frame_size: npt.NDArray[np.int64],
    kind: npt.NDArray[np.int8],
    rng: np.random.Generator,
) -> pl.Series:
    """Return the values, those of the decode kinds damaged; `frame_size` in bytes."""
    rows = np.flatnonzero(np.isin(kind, [NUMBER[k] for k in DECODE_CODES]))
    if not len(rows):
        return values
    # One at a time is fine: these are a handful in a thousand.
    luck = rng.random(len(rows))
    damaged = [
        _damaged(value, int(size), KINDS[which], float(chance))
        for value, size, which, chance in zip(
            values.gather(rows).to_list(), frame_size[rows], kind[rows], luck, strict=True
        )
    ]
    order = np.arange(len(values))
    order[rows] = len(values) + np.arange(len(rows))
    return pl.concat([values, pl.Series(damaged, dtype=pl.Binary())]).gather(order)


def _damaged(value: bytes, size: int, kind: str, luck: float) -> bytes | None:
    """Return one damaged value; `luck` in [0, 1) chooses how."""
    frame, body = value[:size], value[size:]
    match kind:
        case "null":
            return None
        case "empty":
            return b""
        case "truncated_frame":
            return frame[: 1 + int(luck * (size - 1))]
        case "bad_magic":
            return b'{"payment_id":' if luck < 0.5 else b"\x07" + value[1:]
        case "unknown_schema":
            return (UNKNOWN_ID if luck < 0.5 else b"\1" + b"\xee" * 16) + body
        case "bad_utf8":
            # The same length, so that everything around it still decodes.
            return frame + body.replace(b"term-", b"t\xff\xfe\xff-", 1)
        case "truncated":
            return frame + body[: int((0.1 + 0.7 * luck) * len(body))]
        case _:
            # A first string that is longer than the payload, of negative length, or whose
            # length is no number of 64 bits.
            length = (b"\xfe\xff\xff\xff\x7e", b"\x01", b"\xff" * 12)[int(luck * 3)]
            return frame + length + body[1:]
