"""A replay of what is too late for its windows by now, and at the rate that was asked for."""

import json
from datetime import timedelta
from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from flows import settings as settings_
from flows.settings import PREFIX
from operators.connectors.kafka.client import headers_of, read_to_end
from ops.dlq import streams as dlq_streams
from ops.dlq.headers import ORIGIN_HEADER
from ops.verify import verify
from tests.field import refused
from tests.field.test_replay import know, newer, next_schema, run
from tests.field.topic import NOON, Field, payment
from tests.ops.reports import broken


def test_what_is_too_late_is_in_silver_and_told_late_and_no_window_changes(
    local: Field, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    known = know(local)
    local.settings |= {f"{PREFIX}ALLOWED_LATENESS": "10m"}
    for name, value in local.settings.items():
        monkeypatch.setenv(name, value)
    told = partial(refused.told, capsys)
    local.create()
    # The newest of them is within the lateness of the windows of a minute and of an hour.
    soon = NOON + timedelta(hours=5, minutes=-6)
    local.send(*(payment(n) for n in range(4)), newer(5), newer(6), newer(7, event_time=soon))
    local.send(payment(8, event_time=NOON + timedelta(hours=5)))
    run(local)
    assert local.table("quarantine/payments")["code"].to_list() == ["unknown_schema"] * 3
    minutes = local.table("gold/terminal_minute")
    assert local.table("gold/late").is_empty()

    (known / "payment" / "3.avsc").write_text(json.dumps(next_schema()))
    dlq_streams.lookup.cache_clear()
    (finished,) = told("replay --send --rate 1/s --why 'a schema was late'")["finished"]
    assert finished["sent"] == 3
    config = {"bootstrap.servers": local.bootstrap}
    again = [each for each in read_to_end(config, local.topic, {0: 0})
             if ORIGIN_HEADER in headers_of(each)]  # fmt: skip
    # A second from one to the next, by the clock of who sent them.
    assert [headers_of(each)[ORIGIN_HEADER][-2:] for each in again] == [b"/4", b"/5", b"/6"]
    times = [each.timestamp()[1] for each in again]
    assert all(after - before >= 990 for before, after in pairwise(times)), times

    run(local)
    silver = local.table("silver/payments")
    ids = dict(silver.select("payment_id", "source_offset").iter_rows())
    assert {n: ids[f"payment-{n}"] for n in (5, 6, 7)} == {
        n: each.offset() for n, each in zip((5, 6, 7), again, strict=True)
    }
    late = local.table("gold/late")
    missed = set(late.filter(step="terminal_minute")["payment_id"])
    assert missed == {"payment-5", "payment-6"}
    assert "terminal_minute" not in set(late.filter(payment_id="payment-7")["step"])
    # What was closed for them is as it was.
    after = local.table("gold/terminal_minute")
    closed = after.filter(after["window_start"] < NOON + timedelta(hours=1))
    before = minutes.filter(minutes["window_start"] < NOON + timedelta(hours=1))
    key = ["terminal_id", "window_start", "revision"]
    assert closed.sort(key).equals(before.sort(key))
    lines = told("list --limit 9")
    assert {each["became"] for each in lines} == {"silver"}
    assert broken(verify(settings_.load(local.settings))) == []
