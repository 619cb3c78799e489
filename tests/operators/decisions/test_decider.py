"""Decisions against an oracle that takes one event at a time."""

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.decisions.columns import decision_columns
from operators.decisions.decider import Decider
from operators.decisions.thresholds import Thresholds, fixed
from operators.decisions.versions import unchanged
from operators.decisions.words import PLAIN
from operators.records.tables import COORDINATES, TIME
from operators.rules.rule import alert_columns

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
THRESHOLDS = Thresholds(review=50, block=150, model_review=0.5, model_block=0.9)
ACTIONS = ("approve", "review", "block")
EVENTS = {
    **COORDINATES, "kafka_timestamp": TIME, "id": pl.String(), "key": pl.String(),
    "event_time": TIME, "n": pl.Int64(), "when": TIME,
}  # fmt: skip
READS = {"a": ["n"], "b": ["when", "n"], "c": []}

hit = st.tuples(
    st.sampled_from(sorted(READS)),
    st.sampled_from(ACTIONS),
    st.one_of(
        st.integers(-100, 2_000).map(lambda each: each / 10),
        st.sampled_from([None, float("nan"), float("inf")]),
    ),
    st.sampled_from(["live", "live", "shadow", None]),
)
event = st.fixed_dictionaries(
    {
        "hits": st.lists(hit, max_size=3, unique_by=lambda each: each[0]),
        "listed": st.sampled_from(
            [None, "", "watch:w:key", "block:b:key", "allow:a:id", "allow!:v:key",
             "allow!:v:key block:b:key", "allow:a:id block:b:id block:b:key"]
        ),
        "model": st.one_of(
            st.none(), st.floats(0, 1), st.sampled_from([0.5, 0.9, float("nan"), -1.0, 1.5])
        ),
    }
)  # fmt: skip


def frames(
    events: list[dict], *, lists: bool, model: bool
) -> tuple[pl.DataFrame, pl.DataFrame]:
    rows, alerts = [], []
    for number, each in enumerate(events):
        place = {"source_topic": "t", "source_partition": number % 2, "source_offset": number}
        own = {"id": f"id-{number}", "key": f"key-{number}", "event_time": NOON}
        rows.append(
            {**place, **own, "kafka_timestamp": NOON, "n": number,
             "when": NOON + timedelta(seconds=number), "listed": each["listed"],
             "model_score": each["model"]}
        )  # fmt: skip
        alerts += [
            {**place, **own, "alert_id": "", "rule_id": rule, "rule_version": 2,
             "rule_status": status, "severity": "low", "action": action, "score": score,
             "reason": f"{rule} of {number}"}
            for rule, action, score, status in each["hits"]
        ]  # fmt: skip
    columns = EVENTS | {"listed": pl.String(), "model_score": pl.Float64()}
    found = pl.DataFrame(rows, columns)
    without = [name for name, kept in (("listed", lists), ("model_score", model)) if not kept]
    return found.drop(without), pl.DataFrame(alerts, alert_columns("id", "key"))


def one_by_one(number: int, each: dict, *, lists: bool, model: bool) -> dict | None:
    """Decide on one event, in the plainest words."""
    live = [hit for hit in each["hits"] if hit[3] in (None, "live")]
    points = {
        rule: 0.0 if score is None or score != score else min(max(score, 0.0), 1_000.0)
        for rule, _, score, _ in live
    }
    score = each["model"] if model else None
    failed = model and (score is None or not 0 <= score <= 1)
    says = score is not None and not failed and score >= 0.5
    lists_of = (each["listed"] or "").split() if lists else []
    blocked = any(item.startswith("block:") for item in lists_of)
    if not (live or blocked or says or failed):
        return None
    share = round(100 * score, 2) if says else 0.0
    total = sum(points.values()) + share

    def level(sum_of_scores: float) -> int:
        return (sum_of_scores >= 50) + (sum_of_scores >= 150)

    by_rules = 0
    if live:
        advised = max(ACTIONS.index(action) for _, action, _, _ in live)
        by_rules = max(advised, level(round(sum(points.values()), 2)))
    by_all = max(by_rules, level(round(total, 2)) if live or says else 0)
    if says:
        by_all = max(by_all, 2 if score >= 0.9 else 1)
    decision, by = ACTIONS[by_all], "rules" if by_rules == by_all else "model"
    if any(item.startswith("allow!") for item in lists_of):
        decision, by = "approve", "allow list"
    elif blocked:
        decision, by = "block", "block list"
    elif any(item.startswith("allow:") for item in lists_of):
        decision, by = "approve", "allow list"
    return {
        "id": f"id-{number}", "decision": decision, "decided_by": by,
        "score": pytest.approx(total, abs=0.0051), "without_model": failed,
        "model_share": pytest.approx(share), "model_score": None if failed else score,
        "hits": {rule: (points[rule], f"{rule} of {number}") for rule, *_ in live},
    }  # fmt: skip


@settings(max_examples=40)
@given(st.lists(event, max_size=8), st.booleans(), st.booleans(), st.randoms())
def test_a_frames_decisions_are_those_of_its_events_one_by_one(
    events, lists, model, rng
) -> None:
    rows, alerts = frames(events, lists=lists, model=model)
    mixed = list(range(alerts.height))
    rng.shuffle(mixed)
    decider = Decider("id", "key", fixed(THRESHOLDS), lambda alert: READS[alert["rule_id"]])
    found = decider.decide(rows, alerts[mixed])
    assert dict(found.schema) == decision_columns("id", "key")
    expected = [
        decided
        for number, each in enumerate(events)
        if (decided := one_by_one(number, each, lists=lists, model=model))
    ]
    got = found.to_dicts()
    assert [{name: row[name] for name in each if name != "hits"}
            for row, each in zip(got, expected, strict=True)] == [
        {name: value for name, value in each.items() if name != "hits"} for each in expected
    ]  # fmt: skip
    for row, each in zip(got, expected, strict=True):
        hits = row["hits"] or []
        assert {hit["rule_id"]: (hit["score"], hit["reason"]) for hit in hits} == each["hits"]
        number = int(row["id"].removeprefix("id-"))
        for one in hits:
            known = {"n": number, "when": f"2026-03-01T12:00:{number:02}Z"}
            read = {name: known[name] for name in READS[one["rule_id"]]}
            assert json.loads(one["values"]) == read
        if row["score"]:
            parts = sum(hit["share"] for hit in hits) + row["model_share"] / row["score"]
            assert parts == pytest.approx(1, abs=0.001)
        assert row["decision_id"] == f"t/{number % 2}/{number}"
        assert (row["review_at"], row["model_block_at"]) == (50, 0.9)
        assert row["sentence"].endswith(".")
        assert ("without the model" in row["sentence"]) == row["without_model"]
    # What others it comes with plays no part.
    alone = [
        decider.decide(rows[at], alerts.filter(source_offset=at)) for at in range(len(rows))
    ]
    if alone:
        assert pl.concat(alone).equals(found)


def numbered(rows: pl.DataFrame) -> dict[str, pl.Series]:
    """Return another change of lists for each event, and none of thresholds."""
    return unchanged(rows) | {"lists_change": rows["source_offset"].cast(pl.Int64)}


@settings(max_examples=40)
@given(st.lists(event, max_size=8), st.booleans(), st.booleans())
def test_where_each_event_has_a_decision_plain_ones_are_between_the_others(
    events, lists, model
) -> None:
    rows, alerts = frames(events, lists=lists, model=model)
    reads = lambda alert: READS[alert["rule_id"]]  # noqa: E731
    some = Decider(
        "id", "key", fixed(THRESHOLDS), reads, model="m@1", versions=numbered
    ).decide(rows, alerts)
    every = Decider(
        "id", "key", fixed(THRESHOLDS), reads, every=True, model="m@1", versions=numbered
    )
    found = every.decide(rows, alerts)
    assert dict(found.schema) == decision_columns("id", "key")
    assert found["source_offset"].to_list() == rows["source_offset"].to_list()
    assert {*found["model"]} <= {"m@1"}
    assert found["lists_change"].equals(found["source_offset"].cast(pl.Int64))
    assert found["thresholds_change"].null_count() == found.height
    assert found["review_at"].to_list() == [50] * len(events)
    notable = {row["decision_id"]: row for row in some.to_dicts()}
    for each, row in zip(events, found.to_dicts(), strict=True):
        allowed = lists and "allow" in (each["listed"] or "")
        there = notable.get(row["decision_id"])
        if there is not None:
            # An allow list that nothing else is said beside is told too, where each is told.
            apart = {"sentence"} if allowed and row["without_model"] else set()
            assert {k: v for k, v in row.items() if k not in apart} == {
                k: v for k, v in there.items() if k not in apart
            }
            continue
        assert (row["decision"], row["score"], row["hits"]) == ("approve", 0, None)
        assert row["decided_by"] == ("allow list" if allowed else "rules")
        assert (row["sentence"] == PLAIN) == (not allowed)
        if allowed:
            assert row["sentence"].startswith("Approved: its ")
        assert row["listed"] == (each["listed"] if lists else None)
        assert row["model_score"] == (each["model"] if model else None)
    # Batches play no part.
    alone = [every.decide(rows[at], alerts.filter(source_offset=at)) for at in range(len(rows))]
    if alone:
        assert pl.concat(alone).equals(found)


def test_thresholds_may_be_another_for_each_event() -> None:
    events = [{"hits": [("a", "approve", 60.0, "live")], "listed": None, "model": 0.4}] * 4
    rows, alerts = frames(events, lists=False, model=True)
    low = {
        "review": [50, 70, 70, 70],
        "block": [90, 90, 55, 90],
        "model_review": [0.5, 0.3, 0.5, 0.5],
        "model_block": [0.9, 0.9, 0.9, 0.3],
    }

    def at(name: str, frame: pl.DataFrame) -> np.ndarray:
        return np.array(low[name], np.float64)[frame["source_offset"].to_numpy()]

    found = Decider("id", "key", at, lambda _: ()).decide(rows, alerts)
    assert found.select("decision", "decided_by", "score", "review_at").rows() == [
        ("review", "rules", 60.0, 50.0),
        ("block", "model", 100.0, 70.0),
        # Each was set by itself: below what is reviewed is blocked here.
        ("block", "rules", 60.0, 70.0),
        ("block", "model", 100.0, 70.0),
    ]


@pytest.mark.parametrize(
    ("each", "said"),
    [
        (
            {"hits": [("a", "block", 80.0, "live"), ("b", "review", 5.5, "live")]},
            "Blocked: a says so. Score 85.5: a 80 (a of 0); b 5.5 (b of 0).",
        ),
        (
            {"hits": [("a", "review", 80.0, "live"), ("b", "review", 90.0, "live")]},
            "Blocked: its score, 170, is 150 or more. Score 170: b 90 (b of 0); a 80 (a of 0).",
        ),
        (
            {"hits": [("a", "approve", 20.0, "live")], "model": None},
            "Approved: its score is below 50. Score 20: a 20 (a of 0). Decided without the model.",
        ),
        ({"model": 0.71234}, "To be reviewed: the model's score, 0.7123, is 0.5 or more."),
        ({"model": float("nan")}, "Approved. Decided without the model."),
        (
            {"hits": [("a", "review", 80.0, "live")], "model": 0.75},
            "Blocked: its score with the model's part, 155, is 150 or more. Score 155: "
            "a 80 (a of 0); the model 75.",
        ),
        (
            {"listed": "block:stolen:card_id block:stolen:terminal_id"},
            "Blocked: its card_id is on block list stolen and its terminal_id is on block list "
            "stolen.",
        ),
        (
            {"hits": [("a", "block", 9.0, "live")], "listed": "allow!:vip:key block:b:key"},
            "Approved: its key is on allow list vip. Score 9: a 9 (a of 0).",
        ),
    ],
)  # fmt: skip
def test_a_sentence_says_what_decided(each, said) -> None:
    given_ = {"hits": [], "listed": "", "model": 0.0} | each
    rows, alerts = frames([given_], lists=True, model=True)
    found = Decider("id", "key", fixed(THRESHOLDS), lambda _: ()).decide(rows, alerts)
    assert found["sentence"].to_list() == [said]
