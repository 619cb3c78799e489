import subprocess
import sys
from datetime import UTC, datetime
from io import BytesIO

import fastavro
import numpy as np
import orjson
import polars as pl
import pytest
from bytewax.testing import TestingSink, TestingSource, run_main

import schemas
from flows.connecting import rules_of
from flows.decisions import decider_of
from flows.pipeline import Parts, build
from flows.settings import load
from flows.streams import PAYMENTS
from operators.avro import Decoder
from operators.connectors.kafka.outgoing import Outgoing
from operators.connectors.registry import schema_source as registry
from operators.contracts import load_contract
from operators.records.batches import END_OF_INPUT, Progress, RawBatch
from operators.records.columns import RAW_COLUMNS

SETTINGS = load(
    {
        "MILLSTREAM_REDIS_URL": "redis://nowhere",
        "MILLSTREAM_DELTA_ROOT": "nowhere",
        "MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS": "nowhere",
    }
)
START = datetime(2024, 5, 1, 12, tzinfo=UTC)


class Seen:
    """First records in a dict."""

    def __init__(self) -> None:
        self._first: dict = {}

    def first(self, ids, hours, partitions, offsets):
        keys = zip(ids, hours, strict=True)
        places = zip(partitions.tolist(), offsets.tolist(), strict=True)
        found = [self._first.setdefault(k, p) for k, p in zip(keys, places, strict=True)]
        return tuple(np.array(found, np.int64).reshape(-1, 2).T)


def parts() -> Parts:
    rules = rules_of(PAYMENTS, SETTINGS)
    versions = [schemas.load("payment", n) for n in schemas.versions("payment")]
    return Parts(
        Decoder(versions[-1], registry.open_registry("", {}), versions),
        load_contract("payment").check,
        Seen(),
        rules,
        decider=decider_of(PAYMENTS, SETTINGS, rules, None),
    )


def payload(number: int, **changes) -> bytes:
    body = BytesIO()
    payment = {
        "payment_id": f"p-{number}", "card_id": "card-1", "customer_id": "c",
        "terminal_id": "t-1", "amount_minor": 500,
        "event_time": int(START.timestamp()) * 1_000_000 + number * 1_000_000,
        "currency": "EUR", "merchant_category": "5411", "country": "BE", "channel": "POS",
    } | changes  # fmt: skip
    schema = schemas.latest("payment")
    defaults = {f["name"]: f["default"] for f in schema["fields"] if "default" in f}
    fastavro.schemaless_writer(body, fastavro.parse_schema(schema), defaults | payment)
    version = schemas.versions("payment")[-1]
    return b"\0" + schemas.local_id("payment", version).to_bytes(4, "big") + body.getvalue()


def batch(values: list[bytes], first: int, *, end: bool = False) -> RawBatch:
    n = len(values)
    progress = Progress("payments", 0, 1, first + n - 1)
    stamps = np.full(n, int(START.timestamp() + 60) * 1000)
    return RawBatch(
        progress.at(END_OF_INPUT) if end else progress,
        np.arange(first, first + n), stamps, [None] * n, values, [None] * n,
    )  # fmt: skip


def run(batches: list[RawBatch]) -> tuple[dict[str, pl.DataFrame], dict[str, list[Outgoing]]]:
    to_tables: list = []
    to_topics: list = []
    run_main(
        build(
            PAYMENTS,
            TestingSource(batches),
            TestingSink(to_tables),
            TestingSink(to_topics),
            parts(),
            SETTINGS,
        )
    )
    rows = {
        table.name: pl.concat(
            [
                item
                for name, item in to_tables
                if name == table.name and isinstance(item, pl.DataFrame)
            ]
            or [pl.DataFrame(schema=table.columns)]
        )
        for table in PAYMENTS.all_tables
    }
    topics = SETTINGS.alerts_topic, SETTINGS.decisions_topic, SETTINGS.dlq_topic
    messages: dict[str, list[Outgoing]] = {topic: [] for topic in topics}
    for name, item in to_topics:
        if not isinstance(item, Progress):
            messages[name] += item
    return rows, messages


RECORDS = [
    *(payload(i) for i in range(5)),
    payload(2),  # again
    b"\0\0\0\0\x09 of no schema",
    payload(7, amount_minor=-1),
    payload(70, amount_minor=99_000),
]


def test_records_come_to_their_tables_and_topics():
    rows, messages = run([batch(RECORDS[:4], 0), batch(RECORDS[4:], 4), batch([], 9, end=True)])
    assert rows.pop("gold/category_hour").height == 12
    assert {name: frame.height for name, frame in rows.items()} == {
        "bronze/payments": 9, "silver/payments": 6, "silver/duplicates": 1,
        "quarantine/payments": 2, "gold/alerts": 4, "gold/decisions": 2, "gold/late": 0,
        "gold/terminal_minute": 2, "gold/terminal_day": 1, "gold/customer_day": 1,
        "gold/card_sessions": 1,
        # Its writer makes the rows, of parts of the others'.
        "gold/data_quality": 0, "gold/schema_drift": 0,
    }  # fmt: skip
    assert rows["bronze/payments"]["value"].to_list() == RECORDS
    assert rows["silver/payments"]["source_offset"].to_list() == [0, 1, 2, 3, 4, 8]
    assert rows["silver/duplicates"].select("source_offset", "first_offset").rows() == [(5, 2)]
    assert rows["quarantine/payments"].select("source_offset", "stage").rows() == [
        (6, "decode"), (7, "contract")
    ]  # fmt: skip
    assert rows["gold/alerts"].select("source_offset", "rule_id").rows() == [
        (4, "velocity"), (8, "amount_limit"), (8, "unusual_amount"), (8, "velocity")
    ]  # fmt: skip
    decisions = rows["gold/decisions"].sort("source_offset")
    assert decisions.select("source_offset", "decision", "decided_by", "score").rows() == [
        (4, "review", "rules", 75.0), (8, "block", "rules", 240.0)
    ]  # fmt: skip
    sent = [orjson.loads(m.value) for m in messages[SETTINGS.decisions_topic]]
    assert [each["decision_id"] for each in sent] == decisions["decision_id"].to_list()
    assert sent[0]["hits"] == [
        {
            "rule_id": "velocity", "rule_version": 1, "action": "review", "score": 75.0,
            "share": 1.0, "reason": "5 payments with the card within 10 minutes",
            "values": {"card_count_10m": 5},
        }
    ]  # fmt: skip
    assert sent[0]["sentence"] == (
        "To be reviewed: velocity says so. Score 75: velocity 75 (5 payments with the card within "
        "10 minutes)."
    )
    panes = rows["gold/terminal_minute"].sort("window_start")
    assert panes["payments"].to_list() == [5, 1]
    assert [m.id for m in messages[SETTINGS.alerts_topic]] == rows["gold/alerts"][
        "alert_id"
    ].to_list()
    assert [m.value for m in messages[SETTINGS.dlq_topic]] == RECORDS[6:8]


def test_any_cut_into_batches_gives_the_same_tables():
    whole, messages = run([batch(RECORDS, 0), batch([], 9, end=True)])
    singly, again = run(
        [*(batch([r], i) for i, r in enumerate(RECORDS)), batch([], 9, end=True)]
    )
    for name, frame in whole.items():
        # A table is a set of rows: which commit brings one depends on the epochs.
        order = [n for n, dtype in frame.schema.items() if not isinstance(dtype, pl.List)]
        assert singly[name].sort(order).equals(frame.sort(order)), name
    assert again == messages


def test_every_column_of_every_table_is_made():
    rows, _ = run([batch(RECORDS, 0), batch([], 9, end=True)])
    for table in PAYMENTS.all_tables:
        made = rows[table.name].schema
        assert {name: made[name] for name in table.columns} == dict(table.columns), table.name
    assert dict(rows["bronze/payments"].schema).items() >= RAW_COLUMNS.items()


# --- what recovered state is found by -------------------------------------------------------

STATEFUL = {
    "payments.kafka": "input",
    "payments.features.cards": "stateful_batch",
    **{f"payments.features.kept.part_{part}": "stateful_batch" for part in range(16)},
    "payments.terminal_minute.intake": "stateful_batch",
    "payments.terminal_minute.panes": "stateful_batch",
    "payments.category_hour.intake": "stateful_batch",
    "payments.category_hour.panes": "stateful_batch",
    "payments.terminal_day.intake": "stateful_batch",
    "payments.terminal_day.panes": "stateful_batch",
    "payments.customer_day.intake": "stateful_batch",
    "payments.customer_day.panes": "stateful_batch",
    "payments.card_sessions.intake": "stateful_batch",
    "payments.card_sessions.panes": "stateful_batch",
    "payments.tables": "output",
    "payments.topics": "output",
}


def steps_with_state(step) -> dict[str, str]:
    found = {}
    for each in step.substeps:
        kind = type(each).__name__
        if kind in ("input", "output", "stateful_batch", "stateful"):
            found[each.step_id] = kind
        else:
            found |= steps_with_state(each)
    return found


def test_no_step_with_state_is_renamed():
    # A renamed step silently starts from nothing. Add to this list, don't change it: a new
    # name needs a new recovery store, which docs/upgrades.md has to say.
    made = build(
        PAYMENTS, TestingSource([]), TestingSink([]), TestingSink([]), parts(), SETTINGS
    )
    assert steps_with_state(made) == STATEFUL
    assert made.flow_id == "payments"


def test_no_table_is_renamed_because_its_writers_state_has_its_name():
    assert {table.name for table in PAYMENTS.all_tables} == {
        "bronze/payments", "silver/payments", "silver/duplicates", "quarantine/payments",
        "gold/alerts", "gold/decisions", "gold/late", "gold/terminal_minute",
        "gold/category_hour", "gold/terminal_day", "gold/customer_day", "gold/card_sessions",
        "gold/data_quality", "gold/schema_drift",
    }  # fmt: skip


def test_importing_a_flow_has_no_effect():
    code = (
        "import sys, threading, signal; import flows.payments; "
        "assert threading.active_count() == 1, threading.enumerate(); "
        "assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True, text=True, check=False, env={"PYTHONPATH": ".", "PATH": ""},
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_flow_with_bad_settings_says_all_that_is_wrong_and_ends(monkeypatch, capsys):
    from flows import payments

    for name in ("REDIS_URL", "DELTA_ROOT", "KAFKA_BOOTSTRAP_SERVERS"):
        monkeypatch.delenv(f"MILLSTREAM_{name}", raising=False)
    with pytest.raises(SystemExit) as raised:
        payments.flow()
    assert raised.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 3
