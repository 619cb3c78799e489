"""The payments of a simulated world, and the frauds among them.

The handbook's three scenarios (see `params.Params`): (1) an amount above 220; (2) a terminal
that is compromised: all its payments for 28 days; (3) a customer whose card is stolen: a third
of the payments for 14 days, at five times the amount. A later scenario's label stands.

Added, because the handbook has neither velocity nor travel: a share of the stolen cards is
used in bursts (its frauds are moved together, up to five within ten minutes) and a share
abroad (its frauds happen at a terminal on another continent). Neither adds a payment or
changes an amount or a label, so the handbook's rates hold.
"""

from dataclasses import dataclass, fields
from typing import Final

import numpy as np
import numpy.typing as npt

from operators.columns.arrays import Int64s
from ops.simulate.payments.params import Params
from ops.simulate.payments.world import ABROAD_TERMINALS, World

DAY_US: Final = 86_400_000_000
COMPROMISED_DAYS: Final = 28
STOLEN_DAYS: Final = 14
BURST: Final = 5


@dataclass(slots=True)
class Draws:
    """Payments as columns of n, in the order of event time.

    `time` in µs since the start, `customer` and `terminal` their indexes, `amount` in cents,
    `card` the index of the customer's card, `scenario` the fraud scenario or 0.
    """

    time: Int64s
    customer: Int64s
    terminal: Int64s
    amount: Int64s
    card: Int64s
    scenario: npt.NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.time)

    def take(self, rows: Int64s | slice) -> "Draws":
        """Return the rows at these positions."""
        return Draws(*(getattr(self, column.name)[rows] for column in fields(self)))


def draw_payments(world: World, params: Params, rng: np.random.Generator) -> Draws:
    """Draw all payments and frauds of `params.days`, or the first `params.payments`."""
    rate = np.where(np.diff(world.reach_from) > 0, world.rate, 0.0)
    days = params.days
    if params.payments is not None:
        # 0.969 of the tries fall inside the day; six standard deviations more than asked for.
        want = params.payments + 6 * params.payments**0.5
        days = int(np.ceil(want / (0.969 * rate.sum()))) + 1
    drawn = _genuine(world, params, rate, days, rng)
    _defraud(drawn, world, params, days, rng)
    drawn = drawn.take(np.argsort(drawn.time, kind="stable"))
    if params.payments is not None:
        drawn = drawn.take(slice(params.payments))
    if params.pace is not None:
        drawn.time = (np.arange(len(drawn)) * (1e6 / params.pace)).astype(np.int64)
    return drawn


def _genuine(
    world: World,
    params: Params,
    rate: npt.NDArray[np.float64],
    days: int,
    rng: np.random.Generator,
) -> Draws:
    tries = rng.poisson(rate, (days, world.customers)).ravel()
    case = np.repeat(np.arange(days * world.customers), tries)
    second = rng.normal(43_200, 20_000, len(case))
    inside = (second > 0) & (second < 86_400)
    day, customer = np.divmod(case[inside], world.customers)
    n = len(customer)
    mean = world.mean[customer]
    amount = mean + mean / 2 * rng.standard_normal(n)
    amount = np.where(amount < 0, rng.uniform(0, 2 * mean), amount)
    span = world.reach_from[customer + 1] - world.reach_from[customer]
    pick = (rng.random(n) * span).astype(np.int64)
    return Draws(
        time=day * DAY_US + (second[inside] * 1e6).astype(np.int64),
        customer=customer,
        terminal=world.reach[world.reach_from[customer] + pick],
        amount=np.maximum(np.rint(amount * 100).astype(np.int64), 1),
        card=rng.integers(0, params.cards_per_customer, n),
        scenario=np.zeros(n, np.int8),
    )


def _cases(
    things: int, per_day: int, length: int, days: int, rng: np.random.Generator
) -> Int64s:
    """Return on which day the latest case of each thing began, else -1; (days, things)."""
    began = np.full((days, things), -1, np.int64)
    for day in range(days):
        began[day : day + length, rng.choice(things, min(per_day, things), replace=False)] = day
    return began


def _defraud(
    drawn: Draws, world: World, params: Params, days: int, rng: np.random.Generator
) -> None:
    """Turn payments into frauds, in place."""
    day = drawn.time // DAY_US
    compromised = _cases(
        world.terminals, params.compromised_per_day, COMPROMISED_DAYS, days, rng
    )
    stolen = _cases(world.customers, params.stolen_per_day, STOLEN_DAYS, days, rng)
    drawn.scenario[drawn.amount > 22_000] = 1
    drawn.scenario[compromised[day, drawn.terminal] >= 0] = 2
    began = stolen[day, drawn.customer]
    rows = np.flatnonzero(began >= 0)
    rows = rows[rng.random(len(rows)) < 1 / 3]
    drawn.scenario[rows] = 3
    drawn.amount[rows] *= 5
    began = began[rows]
    drawn.card[rows] = began % params.cards_per_customer

    # A draw per possible case, so that one case's fate does not depend on the others.
    fate = rng.random((2, days, world.customers))[:, began, drawn.customer[rows]]
    far = rows[fate[0] < params.abroad_share]
    drawn.terminal[far] = world.terminals + rng.integers(0, ABROAD_TERMINALS, len(far))
    in_burst = fate[1] < params.burst_share
    _move_together(drawn, rows[in_burst], began[in_burst], rng)


def _move_together(drawn: Draws, rows: Int64s, began: Int64s, rng: np.random.Generator) -> None:
    """Move each case's frauds, five at a time, to within ten minutes of the first of them."""
    case = drawn.customer[rows] * (began.max(initial=0) + 1) + began
    order = np.lexsort((drawn.time[rows], case))
    rows, case = rows[order], case[order]
    first = np.searchsorted(case, case)
    place = (np.arange(len(rows)) - first) % BURST
    leader = np.arange(len(rows)) - place
    gap = rng.integers(15_000_000, 120_000_000, len(rows))
    drawn.time[rows] = drawn.time[rows][leader] + place * gap
