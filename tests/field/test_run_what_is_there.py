"""Running what is there, every so often: each run goes on, windows stay open in between."""

import shutil
import threading
from datetime import timedelta

import pytest
from confluent_kafka import Producer

from flows import settings as settings_
from ops.verify import verify
from tests.compare import Difference, read_tables
from tests.field.topic import NOON, Field, payment, payments

WHAT_IS_THERE = {"STOP_AT_END": "true"}
END_OF_TIME = {**WHAT_IS_THERE, "CLOSE_WINDOWS_AT_END": "true"}


def run(field: Field, state: str = "state", **settings: str) -> str:
    flow = field.flow("payments", state, **settings)
    assert flow.wait() == 0, flow.said()
    return flow.said()


def send(field: Field, first: int) -> None:
    """Send what an hour has brought: good payments, two of them again, a refused, late ones."""
    # Of a window that the run before has left open, at the end of its last payments.
    field.send(payment(50_000 + first, event_time=NOON + timedelta(seconds=first - 925)))
    field.send(*payments(first, first + 99), payment(first), payment(first + 5), b"no payment")
    field.send(*(payment(first - back) for back in (10, 300)))
    field.send(*payments(first + 100, first + 199), partition=1)


def balanced(field: Field, events: int) -> None:
    report = verify(settings_.load(field.settings))
    assert report.ok, [check for check in report.checks if not check.ok]
    assert report.counts["events"] == events


def differences(field: Field, other: dict[str, str]) -> list[str]:
    found = Difference()
    expected = read_tables(settings_.load(other))
    for name, rows in read_tables(settings_.load(field.settings)).items():
        found.add(name, expected[name], rows)
    assert found.rows > 1_000
    return found.examples


@pytest.mark.slow
def test_three_runs_of_what_is_there_make_the_tables_of_one_that_was_never_interrupted(
    field: Field,
) -> None:
    """Then the end of all event time, once: what comes later is refused, with advice that helps."""
    field.create(2)
    stop = threading.Event()

    def write_on() -> None:
        """Send without a pause: the broker then never says that this is the end."""
        producer = Producer({"bootstrap.servers": field.bootstrap, "linger.ms": 0})
        number = 10_000
        while not stop.wait(0.003):
            for partition in (0, 1):
                producer.produce(field.topic, payment(number), partition=partition)
                producer.poll(0)
                number += 1
        producer.flush()

    for first in (1_000, 2_000):
        send(field, first)
        run(field, **WHAT_IS_THERE)
    assert not field.table("gold/late").is_empty()
    closed = field.table("gold/terminal_minute").height
    # Nothing that a window waits for was left out, and no window was closed before its time.
    balanced(field, 2 * 206)

    send(field, 3_000)
    writer = threading.Thread(target=write_on, daemon=True)
    writer.start()
    try:
        run(field, **WHAT_IS_THERE)
    finally:
        stop.set()
        writer.join()
    run(field, **END_OF_TIME)
    assert field.table("gold/terminal_minute").height > closed

    own = {
        "DELTA_ROOT": str(field.folder / "at-once"),
        "ALERTS_TOPIC": f"{field.topic}.at-once.alerts",
        "DECISIONS_TOPIC": f"{field.topic}.at-once.decisions",
        "DLQ_TOPIC": f"{field.topic}.at-once.dlq",
    }
    run(field, "at-once-state", **own, **END_OF_TIME)
    other = field.settings | {f"MILLSTREAM_{name}": value for name, value in own.items()}
    assert differences(field, other) == []

    field.send(payment(100_000))
    flow = field.flow(**WHAT_IS_THERE)
    assert flow.wait() == 1
    assert "Start with an empty recovery directory and tables" in flow.said()
    shutil.rmtree(field.folder / "state" / "payments")
    shutil.rmtree(field.folder / "tables")
    run(field, **WHAT_IS_THERE)
    balanced(field, field.table("bronze/payments", "at-once").height + 1)
