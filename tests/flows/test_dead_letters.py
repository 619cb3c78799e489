"""Dead letters that are open: told of the tables, at no cost to the flow."""

import logging
import math
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from deltalake import write_deltalake

from flows import dead_letters
from flows.dead_letters import Refused, Watch
from flows.streams import PAYMENTS
from operators import metrics
from operators.connectors.delta.acts import REPLAYS
from operators.connectors.delta.open_letters import OpenLetters
from operators.connectors.delta.retention import retain
from operators.connectors.delta.table import StorageUnavailableError, open_table
from operators.records.tables import STAMPS
from tests.running import wait_until

TABLE = PAYMENTS.quarantine
NOW = datetime.now(UTC)


def refuse(root: Path, *offsets: int, code: str = "malformed", days: int = 0) -> None:
    at = NOW - timedelta(days=days)
    rows = [
        {
            "source_topic": "payments", "source_partition": 0, "source_offset": each,
            "stage": "decode", "code": code, "attempts": 1, "kafka_timestamp": at,
            "flow_version": "1", "written_at": at,
        }
        for each in offsets
    ]  # fmt: skip
    write_deltalake(
        open_table(str(root), TABLE), pl.DataFrame(rows, TABLE.schema), mode="append"
    )


def claim(root: Path, stream: str, *offsets: int) -> None:
    rows = [
        {
            "replay": "r", "stream": stream, "source_topic": "payments", "source_partition": 0,
            "source_offset": each, "sent_behind": 0, "flow_version": "1", "written_at": NOW,
        }
        for each in offsets
    ]  # fmt: skip
    frame = pl.DataFrame(rows, {**REPLAYS.columns, **STAMPS})
    write_deltalake(open_table(str(root), REPLAYS), frame, mode="append")


def test_rows_count_that_are_there_and_of_which_nothing_was_done(tmp_path: Path) -> None:
    letters = OpenLetters(str(tmp_path), "payments", TABLE)
    assert letters.changed()
    assert letters.count() == {}
    assert not letters.changed()
    refuse(tmp_path, 1, 2, 3, days=40)
    refuse(tmp_path, 4, 6, code="amount_range")
    assert letters.changed()
    assert letters.count() == {"malformed": 3, "amount_range": 2}
    # Another stream's are none of its, and what is written again later stays as it became.
    claim(tmp_path, "payments", 2, 5)
    claim(tmp_path, "clicks", 1)
    refuse(tmp_path, 5)
    assert letters.changed()
    assert letters.count() == {"malformed": 2, "amount_range": 2}
    # One that retention has deleted is not to be taken off twice.
    assert retain(str(tmp_path), TABLE, timedelta(days=30), dry=False)["deleted"] == 3
    assert letters.changed()
    assert letters.count() == {"amount_range": 2}
    # What could not be counted is still to be.
    refuse(tmp_path, 7)
    assert letters.changed()
    for file in (tmp_path / TABLE.name).glob("*.parquet"):
        file.unlink()
    with pytest.raises(StorageUnavailableError):
        letters.count()
    assert letters.changed()


def shown(code: str = "malformed") -> float:
    return float(metrics.LETTERS_OPEN.labels("payments", code)._value.get())


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letters, "EVERY", 0.05)


@pytest.mark.usefixtures("often")
def test_series_are_there_from_the_start_and_storage_that_is_away_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = {"decode": ["malformed", "bad_magic"], "contract": ["amount_range"]}
    watch = Watch(str(tmp_path), [Refused("payments", TABLE, codes)])
    assert all(math.isnan(shown(code)) for some in codes.values() for code in some)
    watch.start()
    try:
        wait_until(lambda: shown() == 0, 20)
        refuse(tmp_path, 1, 2, 3)
        refuse(tmp_path, 4, code="rule_failed:new")
        wait_until(lambda: (shown(), shown("rule_failed:new")) == (3, 1), 20)
        assert (shown("bad_magic"), shown("amount_range")) == (0, 0)
        looked = threading.Event()

        def away(_: OpenLetters) -> bool:
            looked.set()
            raise StorageUnavailableError("no bucket")

        caplog.set_level(logging.WARNING)
        with monkeypatch.context() as patched:
            patched.setattr(OpenLetters, "changed", away)
            looked.wait(20)
            looked.clear()
            looked.wait(20)
        assert shown() == 3
        (line,) = {each.getMessage() for each in caplog.records}
        assert line == "payments: how many dead letters are open cannot be told: no bucket"
        assert len(caplog.records) == 1
        claim(tmp_path, "payments", 1, 2, 3, 4)
        wait_until(lambda: (shown(), shown("rule_failed:new")) == (0, 0), 20)
    finally:
        watch.stop()


@pytest.mark.usefixtures("often")
def test_the_end_waits_for_no_storage_that_hangs_and_counting_takes_a_fiftieth_at_the_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs, over, counted = threading.Event(), threading.Event(), []

    def changed(_: OpenLetters) -> bool:
        return True

    def count(_: OpenLetters) -> dict[str, int]:
        counted.append(time.monotonic())
        time.sleep(0.05)
        return {}

    def hang(_: OpenLetters) -> bool:
        hangs.set()
        return over.wait(60)

    monkeypatch.setattr(OpenLetters, "changed", changed)
    monkeypatch.setattr(OpenLetters, "count", count)
    watch = Watch(str(tmp_path), [Refused("payments", TABLE, {})])
    watch.start()
    wait_until(lambda: len(counted) > 1, 30)
    watch.stop()
    assert counted[1] - counted[0] >= 50 * 0.05

    monkeypatch.setattr(OpenLetters, "changed", hang)
    watch = Watch(str(tmp_path), [Refused("payments", TABLE, {})])
    watch.start()
    assert hangs.wait(20)
    began = time.monotonic()
    watch.stop()
    assert 1 < time.monotonic() - began < 10
    over.set()
