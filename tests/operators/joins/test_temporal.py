from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from operators.joins import OpenVersions, TemporalJoin, versions
from operators.records.batches import Progress
from tests.examples import examples
from tests.operators.columns.held import held
from tests.operators.joins.sides import LEFT, RIGHT, actual, bounds_, check
from tests.operators.streams import Event, events, frame, partitions, run

joins = st.builds(
    lambda how, deleted, lateness: TemporalJoin(LEFT, RIGHT, how, deleted, lateness),
    st.sampled_from(["inner", "left"]), st.sampled_from([None, "gone"]), st.integers(0, 4),
)  # fmt: skip


def oracle(
    lefts: list[Event], rights: list[Event], join: TemporalJoin
) -> list[tuple[Any, ...]]:
    rows = []
    for left in lefts:
        known = [r for r in rights if r.key == left.key and r.time <= left.time]
        version = max(known, key=lambda r: r.order, default=None)
        if version is not None and join.deleted and version.value < 0:
            version = None
        if version is not None:
            found = (version.value, version.time)
        elif join.how == "left":
            found = (None, None)
        else:
            continue
        rows.append((left.key, left.value, left.time, *found, left.time + 1))
    return sorted(rows, key=repr)


def negative(right: Any) -> Any:
    """Values below zero are deletions."""
    return [[(time, key, value - 1) for time, key, value in records] for records in right]


@examples(1.5)
@given(joins, partitions(), partitions(), bounds_, st.integers(), st.booleans())
def test_every_row_finds_the_version_of_its_time(join, left, right, bounds, seed, tidy):
    versions._TIDY_MIN, usual = (0 if tidy else versions._TIDY_MIN), versions._TIDY_MIN
    try:
        check(join, oracle, left, negative(right), bounds, seed)
    finally:
        versions._TIDY_MIN = usual


@examples(0.5)
@given(joins, partitions(), partitions(), bounds_, st.integers())
def test_with_idle_partitions_every_record_takes_part_or_is_late(
    join, left, right, bounds, seed
):
    check(join, oracle, left, right, bounds, seed, idle=True)


@examples(0.5)
@given(partitions(), partitions(most=1), st.integers())
def test_versions_known_from_the_start_need_no_watermark(left, right, seed):
    join = TemporalJoin(LEFT, RIGHT)
    rows = join.versions.rows(frame(events("r", right, 0)))
    sizes = {"l": len(left)}
    out = run(
        {"l": (left, 3)},
        lambda: OpenVersions(join, sizes, rows),
        lambda _, of: LEFT.rows(of),
        lambda state, progress, rows: state.advance(progress, rows.get("l"), None),
        seed,
    )
    lefts = [e for e in events("l", left, 3) if not e.late(0)]
    assert actual(out) == oracle(lefts, events("r", right, 0), join)


def test_state_keeps_one_version_per_key(monkeypatch):
    monkeypatch.setattr(versions, "_TIDY_MIN", 100)
    join = TemporalJoin(LEFT, RIGHT)
    state = OpenVersions(join, {"l": 1, "r": 1})
    for start in range(0, 6_000, 200):
        part = [[(start + t, "ab"[t % 2], t) for t in range(200)]]
        progress = [Progress(topic, 0, 1, start, start + 199) for topic in "lr"]
        state.advance(progress, None, RIGHT.rows(frame(events("r", part, 0))))
    assert state.rows <= 300
    left = LEFT.rows(frame(events("l", [[(6_000, "a", 1), (6_001, "b", 2)]], 0)))
    progress = [Progress(topic, 0, 1, 6_000, 7_000) for topic in "lr"]
    found = state.advance(progress, left, None).rows
    assert found is not None
    # The last of the values 0 to 199, which went to the keys in turn.
    assert found.select("lk", "rv").rows() == [("a", 198), ("b", 199)]


def test_versions_hold_no_texts_of_those_that_they_replaced(monkeypatch):
    monkeypatch.setattr(versions, "_TIDY_MIN", 100)
    state = OpenVersions(TemporalJoin(LEFT, RIGHT), {"l": 1, "r": 1})
    long = "a text of more than twelve bytes"
    for start in range(0, 20_000, 100):
        # One key that stays, and many versions of one that always comes.
        keys = [f"{long} {start}", *[f"{long} always"] * 99]
        part = [[(start + t, key, t) for t, key in enumerate(keys)]]
        progress = [Progress(topic, 0, 1, start, start + 99) for topic in "lr"]
        state.advance(progress, None, RIGHT.rows(frame(events("r", part, 0))))
    assert held(state) < 200 * state.rows
