"""What is written of a state, when, and what is refused; the states' own tests resume it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.columns.hashing import _mix
from operators.state.shards import SHARDS, gather, span_of_shard
from operators.state.snapshots import IncrementalSnapshots
from tests.operators.durable import Durable, End


class Toy:
    """The newest number of each key."""

    VERSION = 3
    READS = ()

    def __init__(self):
        self.numbers, self.new = {}, set()

    rows = property(lambda self: len(self.numbers))
    changed = property(lambda self: len(self.new))

    def put(self, keys, number):
        keys = set(keys)
        self.numbers |= dict.fromkeys(keys, number)
        self.new |= keys

    def head(self):
        return {"rows": self.rows}

    def changes(self):
        return self._of(self.new)

    def shard(self, shard):
        ordered = np.array(sorted(self.numbers), np.uint64)
        return self._of(ordered[span_of_shard(ordered, shard)].tolist())

    def _of(self, keys):
        keys = list(keys)
        numbers = np.array([self.numbers[key] for key in keys], np.int64)
        return {"key": np.array(keys, np.uint64).tobytes(), "numbers": numbers.tobytes()}

    def settle(self):
        self.new.clear()

    def load(self, head, found):
        rows = gather(found, {"key": np.uint64, "numbers": np.int64})
        keys = rows["key"].tolist()
        self.numbers = dict(zip(keys, rows["numbers"].tolist(), strict=True))
        self.new = {key for key, new in zip(keys, rows["changed"], strict=True) if new}
        assert self.rows == head["rows"]


def size(given):
    return len(given["key"]) // 8


def key(number: int) -> int:
    return int(_mix(np.array([number], np.uint64))[0])


keys = st.sets(st.one_of(st.integers(0, 40).map(key), st.sampled_from([0, 2**64 - 1])))
ends = st.builds(End, st.booleans(), st.booleans(), st.sampled_from([False] * 5 + [True]))


@given(st.lists(st.tuples(keys, ends), max_size=60))
def test_whatever_is_written_when_a_resume_has_all_of_it_and_what_no_entry_has(epochs):
    store, numbers = Durable(Toy), {}
    for number, (some, how) in enumerate(epochs):
        store.begin()
        store.state.put(some, number)
        numbers |= dict.fromkeys(some, number)
        new = set(store.state.new)
        wrote = store._turn is not None or (how.of_input and bool(store.entries))
        store.end(how)
        assert store.state.numbers == numbers
        assert store.state.new == (set() if wrote else new)


@pytest.mark.parametrize("fresh", [10, 200, 2_000])
def test_a_snapshot_costs_what_changed_and_not_all_there_is(fresh):
    total, store, written = 16_000, Durable(Toy), []
    store.state.put(map(key, range(total)), 0)
    store.end(End())
    for epoch in range(70):
        first = epoch * fresh
        store.begin()
        store.state.put((key(n % total) for n in range(first, first + fresh)), epoch)
        before = dict(store.entries)
        store.end(End())
        rows = 0 if store.head["changes"] is None else size(store.head["changes"])
        for part, entry in store.entries.items():
            if entry != before.get(part):
                rows += sum(map(size, entry["parts"].values())) + size(entry["changes"])
        written.append(rows)
    steady = written[30:]
    assert fresh < np.mean(steady) < 1.3 * np.sqrt(2 * total * fresh / SHARDS) + fresh
    assert max(steady) < 1.5 * (total / SHARDS) + 2 * fresh
    assert max(steady) < total / 2


def resumable():
    store = Durable(Toy)
    for number in range(3 * SHARDS):
        store.begin()
        store.state.put(map(key, range(number, number + 9)), number)
        store.end(End())
    assert len(store.entries) == SHARDS
    return store


def test_a_part_that_is_missing_is_refused():
    store = resumable()
    for part, entry in list(store.entries.items()):
        del store.entries[part]
        with pytest.raises(ValueError, match="entries of a kept state are missing"):
            store.resume()
        store.entries[part] = entry
    store.resume()


@pytest.mark.parametrize("head_first", [True, False])
def test_an_older_entry_than_the_head_knows_is_refused(head_first):
    store = resumable()
    older = dict(store.entries)
    while store.entries == older:
        store.begin()
        store.state.put(map(key, range(9)), 99)
        store.end(End(head_first=head_first))
    store.entries = older
    with pytest.raises(ValueError, match="entries of a kept state are missing"):
        store.resume()


def test_parts_without_a_head_are_refused():
    store = resumable()
    store.head = None
    with pytest.raises(ValueError, match="without the state that works on it"):
        store.resume()


def test_a_state_of_another_version_is_refused():
    with pytest.raises(ValueError, match="Toy of state version 99"):
        IncrementalSnapshots(Toy(), {"version": 99})


def test_an_entry_that_was_not_written_in_its_epoch_is_noticed():
    kept = IncrementalSnapshots(Toy())
    part = None
    while part is None:
        part = kept.turn()
        kept.state.put([1, 2], 0)
        kept.head()
    with pytest.raises(RuntimeError, match="not written"):
        kept.turn()


def test_a_state_that_is_never_snapshotted_has_no_turns():
    kept = IncrementalSnapshots(Toy())
    for number in range(50):
        assert kept.turn() is None
        kept.state.put([number], 0)
