"""What people did with rejects, as tables and as columns of the quarantine."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import DeltaTable, write_deltalake
from hypothesis import given, settings
from hypothesis import strategies as st

import schemas
from flows.streams import PAYMENTS
from operators.avro.framing import ID_HEADER
from operators.connectors.delta.acts import AUDIT, REPLAYS
from operators.connectors.delta.open_letters import OpenLetters
from operators.connectors.delta.retention import retain
from operators.records.tables import COORDINATES, STAMPS
from ops.dlq import acts
from ops.dlq.became import tell
from ops.dlq.edits import Edits, edited, unapproved
from ops.dlq.filters import Filters
from ops.dlq.groups import groups
from ops.dlq.quarantine import QuarantineError
from ops.dlq.records import newest
from ops.dlq.replay import _records
from ops.dlq.replays import Replays
from tests.ops.dlq.rejects import CODES, COUNT, claim, made, opened, put, rows, save


@pytest.fixture
def root(tmp_path: Path) -> str:
    """Give a folder with a quarantine."""
    return made(tmp_path)


def test_what_was_sent_and_is_deleted_since_is_not_taken_off_what_is_open(root: str) -> None:
    claim(root, 0, 1)
    (before,) = (each for each in groups([opened(root)], Filters()) if each["stage"] != "rule")
    assert (before["count"], before["replayed"], before["open"]) == (COUNT, 2, COUNT - 2)
    # Those of before have no time of Kafka's, and were written long ago.
    old = pl.read_delta(f"{root}/quarantine/payments").filter(stage="decode")[:2]
    now = pl.lit(datetime.now(UTC)).cast(STAMPS["written_at"])
    young = old.with_columns(source_offset=pl.int_range(7, 9), written_at=now)
    write_deltalake(f"{root}/quarantine/payments", young, mode="append")
    claim(root, 7)
    retain(root, PAYMENTS.quarantine, timedelta(days=30), dry=False)
    (after,) = groups([opened(root)], Filters())
    assert (after["count"], after["replayed"], after["open"]) == (2, 1, 1)


OFFSETS = st.sets(st.integers(0, COUNT - 1), min_size=1)
ACTS_DONE = st.lists(
    st.tuples(st.sampled_from(["edit", "undo", "discard", "restore", "claim"]), OFFSETS),
    max_size=5,
)


@settings(max_examples=8)
@given(ACTS_DONE)
def test_the_state_of_each_reject_is_what_was_done_with_it_last(
    tmp_path_factory: pytest.TempPathFactory, done: list[tuple[str, set[int]]]
) -> None:
    root_ = made(tmp_path_factory.mktemp("acts"))
    edits: set[int] = set()
    discards: set[int] = set()
    claims: set[int] = set()
    letters = OpenLetters(root_, "payments", PAYMENTS.quarantine)
    for act, offsets in done:
        letters.changed()
        letters.count()
        if act == "edit":
            save(root_, b"new", *offsets)
            edits |= offsets
        elif act == "undo":
            save(root_, None, *offsets)
            edits -= offsets
        elif act == "claim":
            if offsets - claims:
                claim(root_, *offsets - claims)
            claims |= offsets
        else:
            listed = ", ".join(map(str, offsets))
            sql = f"source_offset IN ({listed}) AND stage <> 'rule'"
            put(root_, sql, discarded=act == "discard")
            mine = offsets - claims
            discards = discards | mine if act == "discard" else discards - mine
    wanted = {
        offset: "discarded" if offset in discards else "replayed" if offset in claims
        else "edited" if offset in edits else "open"
        for offset in range(COUNT)
    }  # fmt: skip
    # One that has looked all along, by what was new, and one that looks now.
    waiting = sum(state in ("open", "edited") for state in wanted.values())
    for each in (letters, OpenLetters(root_, "payments", PAYMENTS.quarantine)):
        each.changed()
        counts = {code: count for code, count in each.count().items() if code == CODES[0]}
        assert counts == ({CODES[0]: waiting} if waiting else {})
        assert not each.changed()
    quarantine = opened(root_)
    found = quarantine.query("SELECT source_offset, state, stage FROM rows")
    states = dict(
        found.filter(pl.col("stage") != "rule").select("source_offset", "state").rows()
    )
    assert states == wanted
    assert set(found.filter(stage="rule")["state"]) == {"open"}
    listed_ = newest([quarantine], Filters(discarded=None), 99)
    pairs = listed_.filter(pl.col("stage") != "rule").select("source_offset", "state").rows()
    assert dict(pairs) == wanted
    left = [offset for offset, state in wanted.items() if state != "discarded"]
    for limit in (1, 2):
        top = newest([quarantine], Filters(), limit)
        known = sorted([*left, 0, 0], reverse=True)[:limit]
        assert top["source_offset"].to_list() == known
    (line,) = (
        each
        for each in groups([quarantine], Filters(discarded=None))
        if each["code"] == "malformed"
    )
    counts = {name: list(wanted.values()).count(name) for name in ("edited", "discarded")}
    assert {name: line[name] for name in counts} == counts
    assert line["open"] == sum(state in ("open", "edited") for state in wanted.values())


def test_the_newest_edit_of_a_record_counts_and_a_claim_keeps_the_one_that_it_had(
    root: str,
) -> None:
    first = save(root, b"one", 1, 2)
    second = save(root, b"two", 2)
    edits = Edits(root)
    found = {row["source_offset"]: row for row in edits.of("payments").to_dicts()}
    assert {n: (row["edit"], row["value"]) for n, row in found.items()} == {
        1: (first, b"one"), 2: (second, b"two")
    }  # fmt: skip
    assert found[2]["original"] == b"2"
    claim(root, 1, 2, 3)
    save(root, None, 1, 2)
    assert edits.of("payments").height == 0
    mine = Replays(root).claimed().sort("source_offset")
    assert mine["edit"].to_list() == [first, second, None]
    sent = pl.concat(_records(opened(root), mine, edits.all()))
    assert sent.select("source_offset", "value", "edit").rows() == [
        (1, b"one", first), (2, b"two", second), (3, b"3", None)
    ]  # fmt: skip
    names = [[each["key"] for each in headers] for headers in sent["headers"].to_list()]
    assert names == [["own"], ["own"], [ID_HEADER, "own"]]


def test_an_edit_waits_for_another_user_where_the_contract_says_so(
    root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    edits = Edits(root)
    monkeypatch.setenv("LOGNAME", "eva")
    text = f"approval: true\n{schemas.contract('payment')}"
    monkeypatch.setattr(schemas, "contract", lambda _: text)
    edit = save(root, b"one", 1)
    found = edited(rows(root, 1, 2), edits.of("payments"))
    assert unapproved(PAYMENTS, edits, found).to_list() == [True, False]
    with pytest.raises(QuarantineError, match=f"edit {edit} is yours: another user"):
        edits.approve(edit, None)
    monkeypatch.setenv("LOGNAME", "ben")
    edits.approve(edit, "seen")
    assert unapproved(PAYMENTS, edits, found).to_list() == [False, False]
    save(root, b"two", 1)
    newer = edited(rows(root, 1), edits.of("payments"))
    assert unapproved(PAYMENTS, edits, newer).to_list() == [True]
    monkeypatch.setattr(schemas, "contract", lambda _: "checks: []")
    assert not unapproved(PAYMENTS, edits, newer).any()


def test_of_two_that_edit_at_once_one_does(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    note = acts.Acts.note
    at = iter([True, False])

    def meanwhile(self: acts.Acts, *told: Any, **of: Any) -> None:
        if next(at):
            save(root, b"other", 1)
        note(self, *told, **of)

    monkeypatch.setattr(acts.Acts, "note", meanwhile)
    with pytest.raises(QuarantineError, match="another edit began at the same time: run it"):
        save(root, b"mine", 1)
    assert Edits(root).of("payments")["value"].to_list() == [b"other"]


def test_a_rules_rejects_are_discarded_one_by_one_and_told_in_the_audit(root: str) -> None:
    assert put(root, f"code = '{CODES[1]}'") == 1
    quarantine = opened(root)
    assert {line["code"] for line in groups([quarantine], Filters())} == {CODES[0], CODES[2]}
    assert {line["code"] for line in groups([quarantine], Filters(discarded=True))} == {
        CODES[1]
    }
    assert put(root, "true", discarded=False) == 1
    assert put(root, "true", discarded=False) == 0
    rows_ = pl.read_delta(DeltaTable(f"{root}/{AUDIT.name}")).sort("at")
    assert rows_.select("action", "records", "why").rows() == [
        ("discard", 1, "x"), ("restore", 1, "x")
    ]  # fmt: skip


def test_tables_of_a_release_before_have_what_they_lack_added(root: str) -> None:
    for table in (REPLAYS, AUDIT):
        new = {"edit", "discard"}
        kept = {name: kind for name, kind in table.columns.items() if name not in new}
        old = replace(table, columns=kept)
        write_deltalake(f"{root}/{table.name}", pl.DataFrame(schema=old.schema))
    assert rows(root, 1)["replay"].to_list() == [None]
    claim(root, 1)
    assert rows(root, 1)["state"].to_list() == ["replayed"]
    put(root, "source_offset = 2")
    assert opened(root).query("SELECT state FROM rows WHERE source_offset = 2")[
        "state"
    ].to_list() == ["discarded"]


def test_a_partition_alone_is_a_filter() -> None:
    assert Filters(partition=0)
    assert not Filters()
    assert not Filters(discarded=None)


def test_a_reject_tells_where_its_record_is_now_once_its_replay_is_done(root: str) -> None:
    def told() -> list[tuple[Any, ...]]:
        listed = newest([opened(root)], Filters(), 99).to_dicts()
        tell(root, listed)
        names = ("source_offset", "stage", "sent_as", "became")
        return sorted(tuple(each[name] for name in names) for each in listed if each["sent_as"])

    name = claim(root, 0, 2, 5)
    assert told() == []
    places = {("payments", 0, 0): ("payments", 0, 3), ("payments", 0, 2): ("payments", 0, 77)}
    for _ in range(2):  # as one that was ended before it said that it was done
        Replays(root).done(name, "payments", places)
    # Also where it is in silver, as what a rule fails on.
    silver = pl.DataFrame([("payments", 0, 3)], schema=dict(COORDINATES), orient="row")
    write_deltalake(f"{root}/silver/payments", silver)
    assert told() == [
        (0, "decode", "payments/0/3", "refused: decode malformed"),
        (2, "decode", "payments/0/77", "in no table yet"),
    ]
