"""Customers and terminals on a map of 100 x 100 units, after the handbook's simulator.

The handbook (see `params.Params`) gives the distributions; the code here is written anew. One
unit is 0.03 degrees: the map covers 49.5-52.5 N, 2-5 E. Terminals abroad are an addition:
they lie off the map, and only stolen cards are used there.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from operators.columns.arrays import Floats, Int64s
from ops.simulate.payments.params import Params

CHANNELS: Final = ("POS", "ECOM", "ATM", "MOTO")
CHANNEL_SHARES: Final = (0.85, 0.11, 0.03, 0.01)
CATEGORIES: Final = (
    "5411",
    "5812",
    "5541",
    "5912",
    "5311",
    "5732",
    "5651",
    "4111",
    "7011",
    "5999",
)
CASH: Final = "6011"
COUNTRIES: Final = ("FR", "BE", "NL", "DE", "US", "BR", "SG", "ZA")
# Latitude and longitude, in degrees, around which the terminals abroad lie.
ABROAD: Final = ((40.7, -74.0), (-23.5, -46.6), (1.35, 103.8), (-33.9, 18.4))
ABROAD_TERMINALS: Final = 100


@dataclass(frozen=True, slots=True)
class World:
    """Columns of customers (c,) and terminals (t + 100,), the last 100 of them abroad.

    Customers: `mean` amount (major units), `rate` (payments a day), and the terminals that
    each can reach: ``reach[reach_from[i] : reach_from[i + 1]]``. Terminals: position in
    degrees, and indexes into CHANNELS, `categories` and COUNTRIES.
    """

    mean: Floats
    rate: Floats
    reach: Int64s
    reach_from: Int64s
    latitude: Floats
    longitude: Floats
    channel: Int64s
    category: Int64s
    country: Int64s

    @property
    def customers(self) -> int:
        """How many customers there are."""
        return len(self.mean)

    @property
    def terminals(self) -> int:
        """How many terminals there are on the map, those abroad left out."""
        return len(self.latitude) - ABROAD_TERMINALS


def make_world(params: Params, rng: np.random.Generator) -> World:
    """Draw a world; `rng` is used up to a fixed place. Raises ValueError if nobody can pay."""
    x, y = rng.uniform(0, 100, (2, params.customers))
    mean = rng.uniform(5, 100, params.customers)
    rate = rng.uniform(0, 4, params.customers)
    tx, ty = rng.uniform(0, 100, (2, params.terminals))

    count = params.terminals + ABROAD_TERMINALS
    place = np.arange(ABROAD_TERMINALS) % len(ABROAD)
    centre = np.array(ABROAD)[place]
    around = rng.uniform(-0.3, 0.3, (ABROAD_TERMINALS, 2))
    channel = rng.choice(len(CHANNELS), count, p=CHANNEL_SHARES)
    channel[params.terminals :] = CHANNELS.index("POS")
    category = rng.integers(0, len(CATEGORIES), count)
    category[channel == CHANNELS.index("ATM")] = len(CATEGORIES)

    reach, reach_from = _reach(x, y, tx, ty, params.radius)
    if not len(reach):
        raise ValueError(
            "no customer has a terminal within the radius: more terminals or a larger radius"
        )
    return World(
        mean=mean,
        rate=rate,
        reach=reach,
        reach_from=reach_from,
        latitude=np.round(np.concatenate([49.5 + 0.03 * ty, centre[:, 0] + around[:, 0]]), 5),
        longitude=np.round(np.concatenate([2 + 0.03 * tx, centre[:, 1] + around[:, 1]]), 5),
        channel=channel,
        category=category,
        country=np.concatenate([(tx // 25).astype(np.int64), 4 + place]),
    )


def _reach(
    x: Floats, y: Floats, tx: Floats, ty: Floats, radius: float
) -> tuple[Int64s, Int64s]:
    """Return the terminals within `radius` of each customer, and where each one's start."""
    found: list[Int64s] = []
    counts: list[Int64s] = []
    # A block of the distance matrix at a time: the whole of it can be gigabytes.
    step = max(1, 2_000_000 // len(tx))
    for at in range(0, len(x), step):
        here = slice(at, at + step)
        near = (x[here, None] - tx) ** 2 + (y[here, None] - ty) ** 2 < radius**2
        found.append(np.nonzero(near)[1])
        counts.append(near.sum(1))
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.concatenate(counts))])
    return np.concatenate(found), starts
