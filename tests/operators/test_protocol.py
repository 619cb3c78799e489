"""The protocol without an engine: epochs, replays, crashes between commits, late deliveries.

Batches are cut anywhere, what goes to a key group arrives whenever it likes within the epoch, a
crash comes between any two commits and the next start has another number of workers. At the end
the tables hold what a loop over the records makes. Thousands of short programs, each from a seed
that a failure names; and fewer that Hypothesis cuts down to the smallest which fails.
"""

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.examples import examples
from tests.operators.expected import PAST, model, past
from tests.operators.protocol import AGGREGATES, TABLES, Flow

NAMES = [table.name for table in TABLES]


def one_behind_the_other(streams):
    """So that who sleeps is left behind."""
    return [
        [None if row is None else (row[0] + 120 * p, *row[1:]) for row in rows]
        for p, rows in enumerate(streams)
    ]


def run(seed: int, *, idles: bool, loses: bool = False) -> Flow:
    """Make records, and do to them what may happen."""
    luck = random.Random(seed)
    streams = []
    for _ in range(luck.randint(1, 3)):
        times = [luck.randrange(240) for _ in range(luck.randrange(9))]
        if luck.random() < 0.6:
            times.sort()  # time passes, and windows close before the end
        good = [(t, luck.randrange(3), luck.randrange(3), luck.randrange(1, 99)) for t in times]
        streams.append(good)
        for _ in range(luck.choice([0, 0, 1, 5])):
            good.insert(luck.randint(0, len(good)), None)
    if idles:
        streams = one_behind_the_other(streams)
    flow = Flow(streams, luck.randint(1, 3), luck.choice([0, 0, 0, 15]))
    for _ in range(luck.randint(3, 12)):
        what = luck.random()
        if what < 0.45:
            flow.read(luck.randrange(flow.n), luck.randrange(8))
        elif what < (0.7 if loses else 0.57) and idles:
            # Who sleeps is left behind by those who have events.
            asleep = luck.randrange(flow.n)
            flow.fall_asleep(asleep)
            for other in set(range(flow.n)) - {asleep}:
                flow.read(other, luck.randrange(6))
            if luck.random() < 0.5:
                flow.end_epoch(NAMES)
            if loses and luck.random() < 0.5:
                # What had been open until it was let go of closes without a record of this epoch.
                flow.end_epoch(NAMES)
                flow.end_epoch(NAMES)
                flow.lose(luck.randrange(9), luck.randint(1, 3))
        elif what < 0.62 and idles:
            flow.write(luck.randrange(flow.n), luck.randrange(4))
        elif what < 0.7:
            if waiting := flow.waiting():
                flow.arrive(luck.choice(waiting), luck.randint(1, 3))
        elif what < 0.75:
            flow.start(luck.randint(1, 3))
        elif what < 0.83 and loses and flow.whole:
            flow.lose(luck.randrange(9), luck.randint(1, 3))
        else:
            crash = luck.choice([None, None, 0, 1, 2, 3, 3])
            flow.end_epoch(luck.sample(NAMES, len(NAMES)), crash, luck.randint(1, 3))
    flow.finish()
    return flow


def check(flow: Flow, *, idles: bool, loses: bool = False) -> int:
    """Compare the tables with what a loop over the records makes.

    Returns how many were late as their partition had been idle. Where stores are lost these may
    be in a window as well, but no record is nowhere.
    """
    silver, late, panes = (table.rows for table in flow.tables.values())
    place = ["source_partition", "source_offset"]
    known = [*place, "watermark", *PAST]
    assert sorted(row for rows in silver for row in rows[known].rows()) == [
        row for p, records in enumerate(flow.records) for row in past(p, records)
    ]
    told = Counter(row for rows in late for row in rows[place].rows())
    assert max(told.values(), default=1) == 1
    behind, windows = model(flow.records, told, flow.windows.lateness)
    # Who woke from idleness may be late by what the others had come to.
    assert behind <= set(told) if idles else behind == set(told)
    found: dict[Any, Any] = {}
    columns = ["terminal_id", "window_start", "revision", *AGGREGATES]
    for row in sorted(row for rows in panes for row in rows[columns].rows()):
        terminal, start, revision, *values = row
        seen = found.setdefault((terminal, start.timestamp()), {})
        assert revision not in seen
        seen[revision] = tuple(values)
    newest = {key: seen[max(seen)] for key, seen in found.items()}
    if loses:
        _, every = model(flow.records, Counter(behind), flow.windows.lateness)
        assert windows.keys() <= newest.keys() <= every.keys()
        for key, (payments, *_) in newest.items():
            assert windows.get(key, (0,))[0] <= payments <= every[key][0]
    else:
        assert newest == windows
    return len(set(told) - behind)


@pytest.mark.parametrize(("idles", "loses"), [(False, False), (True, False), (True, True)])
def test_whatever_happens_the_tables_are_those_of_a_loop(idles, loses):
    """With partitions that fall asleep: a record is in its window or told as late, once."""
    happened = Counter()
    runs = 5 * settings.default.max_examples
    for seed in range(runs):
        try:
            flow = run(seed, idles=idles, loses=loses)
            happened["woken late"] += check(flow, idles=idles, loses=loses) > 0
        except Exception as error:  # any, to say how to run this program again, and on it goes
            error.add_note(f"run({seed}, idles={idles}, loses={loses})")
            raise
        happened["crash"] += flow.starts > 1
        happened["lost"] += flow.losses > 0
        for name, table in flow.tables.items():
            happened[name] += bool(table.rows)
            happened[f"{name} fenced"] += table.fenced > 0
    # Else it would have shown nothing.
    assert min(happened[name] for name in NAMES) > runs / 4
    assert min(happened[f"{name} fenced"] for name in NAMES) > runs / 40
    assert happened["crash"] > runs / 2.5
    assert happened["lost"] > (runs / 3 if loses else -1)
    assert happened["woken late"] > (runs / 40 if idles else -1)


good = st.tuples(st.integers(0, 180), st.integers(0, 2), st.integers(0, 2), st.integers(1, 98))
records = st.lists(st.one_of(good, good, good, st.none()), max_size=8)
workers = st.integers(1, 3)


class Protocol(RuleBasedStateMachine):
    idles = loses = False

    @initialize(
        streams=st.lists(records, min_size=1, max_size=3),
        workers=workers,
        lateness=st.sampled_from([0, 15]),
    )
    def begin(self, streams, workers, lateness):
        if self.idles:
            streams = one_behind_the_other(streams)
        self.flow = Flow(streams, workers, lateness)

    @rule(partition=st.integers(0, 2), size=st.integers(0, 5))
    def read(self, partition, size):
        self.flow.read(partition % self.flow.n, size)

    @precondition(lambda self: self.idles)
    @rule(partition=st.integers(0, 2))
    def fall_asleep(self, partition):
        self.flow.fall_asleep(partition % self.flow.n)

    @precondition(lambda self: self.idles)
    @rule(partition=st.integers(0, 2), count=st.integers(1, 3))
    def write(self, partition, count):
        self.flow.write(partition % self.flow.n, count)

    @precondition(lambda self: self.flow.waiting())
    @rule(place=st.integers(0, 8), count=st.integers(1, 3))
    def arrive(self, place, count):
        waiting = self.flow.waiting()
        self.flow.arrive(waiting[place % len(waiting)], count)

    @rule(
        order=st.permutations(NAMES),
        crash=st.sampled_from([None, None, None, 0, 1, 2, 3]),
        workers=workers,
    )
    def end_epoch(self, order, crash, workers):
        self.flow.end_epoch(order, crash, workers)

    @rule(workers=workers)
    def crash(self, workers):
        self.flow.start(workers)

    @precondition(lambda self: self.loses and self.flow.whole)
    @rule(store=st.integers(0, 9), workers=workers)
    def lose(self, store, workers):
        self.flow.lose(store, workers)

    def teardown(self):
        if hasattr(self, "flow"):
            self.flow.finish()
            check(self.flow, idles=self.idles, loses=self.loses)


class IdleProtocol(Protocol):
    idles = True


class LosingProtocol(IdleProtocol):
    loses = True


TestProtocol = Protocol.TestCase
TestProtocol.settings = examples(0.5, stateful_step_count=12)
TestIdleProtocol = IdleProtocol.TestCase
TestIdleProtocol.settings = examples(0.5, stateful_step_count=12)
TestLosingProtocol = LosingProtocol.TestCase
TestLosingProtocol.settings = examples(0.5, stateful_step_count=12)
