"""What verify expects of rules and lists that a control topic has changed."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from flows.streams import PAYMENTS
from flows.tables import CONTROL, own_column
from operators.connectors.delta.definitions import Told
from operators.control.changes import DELAY, Content, Entry, Kind, read_change, written
from operators.control.state import State
from operators.rules.rules import RuleSet
from ops.verify.control import Changed, check_listed
from tests.operators.rules.samples import rule

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
STREAM = replace(PAYMENTS, controlled=True)


def silver(*seconds: int) -> pl.DataFrame:
    """Payments of a card, one after the other, by their Kafka times in s."""
    rows = [
        dict.fromkeys(STREAM.columns)
        | {
            "source_topic": "t", "source_partition": 0, "source_offset": at, "card_id": "c",
            "payment_id": f"p{at}", "amount_minor": 200, "listed": "",
            "kafka_timestamp": EPOCH + timedelta(seconds=second),
        }
        for at, second in enumerate(seconds)
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=STREAM.columns)


def state(*changes: tuple[Kind, str, Content]) -> State:
    """Changes that were sent at the beginning of time, each a second after the one before."""
    return State(
        read_change(at, at * 1_000_000 - DELAY, *written(kind, name, content, "w", "y"))
        for at, (kind, name, content) in enumerate(changes, 10)
    )


def told(last: int) -> dict[str, list[Told]]:
    return {CONTROL: [Told("followed", {}, 0, {("t", 0): last})]}


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ({}, ["r@3/0", "q@1/1", "r@4/2", "q@1/2"]),
        # Before the topic was followed its changes meant nothing.
        (told(1), ["r@3/0", "r@3/1", "r@4/2", "q@1/2"]),
        (told(2), ["r@3/0", "r@3/1", "r@3/2"]),
    ],
)
def test_changes_hold_by_time_from_where_on_they_were_followed(
    history: dict[str, list[Told]], expected: list[str]
) -> None:
    known = state(
        ("rule", "r", rule(status="paused")),
        ("rule", "q", rule(id="q", version=1)),
        ("rule", "r", rule(version=4)),
    )
    files = RuleSet([rule()], STREAM.columns, "payment_id", "card_id")
    rows = silver(9, 11, 12)
    changed = Changed(STREAM, files, known, history, "t")
    ids = changed.evaluate(rows).alerts["alert_id"]
    assert sorted(each.replace("/t/0", "") for each in ids) == sorted(expected)
    # What is done with rows of files is not done with those of changes.
    lost = changed.but_of_changed(lambda each: each.clear(), rows)
    kept = [each for each in expected if not each.startswith("r@3")]
    ids = lost(changed.evaluate(rows).alerts)["alert_id"]
    assert sorted(each.replace("/t/0", "") for each in ids) == sorted(kept)


def test_lists_are_compared_from_where_on_silver_has_them() -> None:
    entry = Entry(
        list="l", kind="block", column="card_id", value="c", owner="o", reason="r",
        expires=EPOCH + timedelta(seconds=20),
    )  # fmt: skip
    known = state(("entry", entry.name, entry))
    column, lists = own_column("listed"), " ".join(STREAM.lists)
    right = silver(9, 10, 19, 20).with_columns(
        listed=pl.Series(["", "block:l:card_id", "block:l:card_id", ""])
    )
    assert check_listed(STREAM, known, {column: [Told(lists)]}, "t", right).ok
    wrong = check_listed(STREAM, known, {column: [Told(lists)]}, "t", silver(9, 10, 19, 20))
    assert wrong.offending == 4  # two are missing, and two should not be there
    later = {column: [Told(lists, {("t", 0): 2})]}
    check = check_listed(STREAM, known, later, "t", silver(9, 10, 19, 20))
    assert (check.ok, check.compared, check.deleted) == (True, 1, 3)
