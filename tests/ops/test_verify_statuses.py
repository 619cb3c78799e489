"""Which statuses verify expects of alerts, by what their table tells of their rules."""

import polars as pl

from operators.connectors.delta.definitions import Told
from ops.verify.statuses import Statuses, sent

COLUMNS = {"rule_status": "1", "action": "1"}
SCHEMA = {
    "rule_id": pl.String, "card_id": pl.String, "source_partition": pl.Int32,
    "source_offset": pl.Int64, "rule_status": pl.String, "action": pl.String,
}  # fmt: skip


def at(*lasts: int, topic: str = "t") -> dict:
    """What a table accounted for: the last offset of each partition."""
    return {(topic, partition): last for partition, last in enumerate(lasts)} | {("o", 0): 99}


def alerts(*given: tuple) -> pl.DataFrame:
    rows = [(rule, f"card-{at}", part, at, "live", "review") for rule, part, at in given]
    return pl.DataFrame(rows, SCHEMA, orient="row")


def told(**rules: list[Told]) -> dict[str, list[Told]]:
    return {f"status {name}": each for name, each in rules.items()} | {
        f"rule {name}": [Told("r")] for name in rules
    }


def test_a_status_is_of_the_rows_behind_what_the_table_had_when_it_came():
    history = told(
        r=[Told("shadow"), Told(None, at(50, 50), 0, at(4, 7)), Told("shadow", {}, 0, at(8, 7))]
    )
    rows = alerts(*(("r", part, place) for part in (0, 1, 2) for place in (4, 5, 8, 9)))
    found = Statuses(history, "t", "card_id").of(rows).sort("source_partition", "source_offset")
    assert found["rule_status"].to_list() == [
        "shadow", "live", "live", "shadow", "shadow", "shadow", "shadow", "shadow",
        "shadow", "shadow", "shadow", "shadow",
    ]  # fmt: skip
    # Of what is told of another topic none is held to.
    other = Statuses({"status r": [Told("shadow", {}, 0, at(4, topic="x"))]}, "t", "card_id")
    assert set(other.of(rows)["rule_status"]) == {"shadow"}


def test_a_rule_of_which_nothing_is_told_was_always_live():
    rows = alerts(("r", 0, 1), ("s", 0, 1))
    found = Statuses(told(s=[Told("shadow")]), "t", "card_id").of(rows).sort("rule_id")
    assert found["rule_status"].to_list() == ["live", "shadow"]
    assert Statuses({}, "t", "card_id").of(rows.clear()).height == 0


def test_columns_that_a_release_did_not_know_are_not_held_to():
    rows = alerts(("r", 0, 1), ("r", 0, 2), ("r", 1, 1))
    history = {f"column {name}": [Told("1", at(1))] for name in COLUMNS}
    for told_so, known in (
        ({}, [False] * 3),
        ({f"column {name}": [Told("1")] for name in COLUMNS}, [True] * 3),
        (history, [False, True, True]),
        ({name: [*each, Told(None, at(2))] for name, each in history.items()}, [False] * 3),
    ):
        found = Statuses(told_so, "t", "card_id").without_unwritten(rows)
        for name in COLUMNS:
            assert found[name].is_not_null().to_list() == known


def test_only_behind_a_change_may_more_have_been_sent_than_is_live():
    history = told(
        stopped=[Told("shadow", {}, 0, at(7))],
        less=[Told("live for 50%"), Told("live for 5%", {}, 0, at(7))],
        more=[Told("shadow"), Told(None, {}, 0, at(7))],
        never=[Told("shadow")],
    ) | {"status new": [Told("shadow", {}, 0, at(7))], "rule new": [Told("r", {}, 0, at(7))]}
    was_live = Statuses(history, "t", "card_id").was_live
    assert was_live("stopped@1/t/0/8")
    assert was_live("less@12/t/0/8")
    assert not was_live("stopped@1/t/0/7")
    assert was_live("stopped@1/t/1/0")
    for name in ("more", "never", "new", "unknown"):
        assert not was_live(f"{name}@1/t/0/8")
    for name in ("", "stopped", "stopped@1", "stopped@x/t/0/8", "stopped@1/t/0/x"):
        assert not was_live(name)


def test_what_has_no_status_was_sent():
    rows = alerts(("r", 0, 1), ("r", 0, 2), ("r", 0, 3)).with_columns(
        rule_status=pl.Series([None, "live", "shadow"])
    )
    assert sent(rows)["source_offset"].to_list() == [1, 2]
