"""A time log against a plain list of rows, written in parts and resumed at any time."""

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
import pytest

from operators.columns.hashing import _mix
from operators.state.shards import Composite
from operators.state.time_log import TimeLog
from tests.operators.durable import Durable, End


class Alone(Composite):
    """A time log on its own, as a step's state."""

    VERSION = 1

    def __init__(self):
        self.log = TimeLog(number=np.int64)

    rows = property(lambda self: len(self.log))
    members = property(lambda self: {"shelf": self.log})


def actions(seed: int) -> Iterator[tuple[Any, ...]]:
    """Far more of them than hypothesis would think of: a loss shows after several epochs."""
    chance = random.Random(seed)
    for _ in range(80):
        name = chance.choice(["append", "set", "kill", "forget", "end", "end", "end"])
        some = [chance.randrange(60) for _ in range(4)]
        yield {
            "append": (name, some[: chance.randint(1, 4)]),
            "set": (name, some, chance.randrange(100)),
            "kill": (name, some[:1]),
            "forget": (name, chance.randint(1, 9)),
            "end": (name, *(chance.random() < odds for odds in (0.4, 0.6, 0.1))),
        }[name]


@pytest.mark.parametrize("seed", range(40))
def test_rows_are_found_changed_forgotten_and_resumed_as_in_a_list(seed):
    store, time, first = Durable(Alone), 0, 0
    rows: list[dict] = []
    store.begin()
    for name, *given_ in actions(seed):
        log = store.state.log
        some = np.array([], np.int64)
        if name in ("set", "kill"):
            some = np.unique(np.array([first + i for i in given_[0] if first + i < len(rows)]))
            some = some.astype(np.int64)
        if name == "append":
            keys = _mix(np.array(given_[0], np.uint64))
            time += 1
            payload = pl.DataFrame({"at": np.arange(len(rows), len(rows) + len(keys))})
            log.append(keys, np.full(len(keys), time), payload)
            rows += [{"key": int(k), "time": time, "number": 0, "alive": True} for k in keys]
        elif name == "set":
            log.set(some, number=given_[1])
            for i in some:
                rows[i]["number"] = given_[1]
        elif name == "kill":
            log.kill(some)
            for i in some:
                rows[i]["alive"] = False
        elif name == "forget":
            log.forget(time - given_[0])
            gone = sum(row["time"] < time - given_[0] for row in rows)
            first = max(first, gone)
        else:
            store.end(End(*given_))
            store.begin()
            log = store.state.log
        assert (log.first, log.end) == (first, len(rows))
        for column in ("key", "time", "number", "alive"):
            assert log.column(column).tolist() == [row[column] for row in rows[first:]]
        if len(log):
            kept = np.arange(first, len(rows))
            assert log.payload(kept)["at"].to_list() == kept.tolist()
        keys = np.unique(_mix(np.arange(60, dtype=np.uint64)))
        places, found = log.find(keys, None, None)
        alive = [i for i in range(first, len(rows)) if rows[i]["alive"]]
        assert sorted(found.tolist()) == alive
        assert keys[places].tolist() == [rows[i]["key"] for i in found]
