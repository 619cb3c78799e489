"""A partition that wakes behind a flow whose state is gone or old: what it brings is not lost.

While it slept the clock had let the flow's watermark go on, and windows were closed that its
records belong to. Only the tables know of that any more.
"""

import shutil
import signal
import time

import pytest
from deltalake import DeltaTable

from flows import settings as settings_
from ops.verify import verify
from tests.field.test_idle_partitions import bronze, closed
from tests.field.topic import Field, offsets, payment
from tests.running import wait_until


@pytest.mark.parametrize("state", ["lost", "old"])
def test_what_a_partition_brings_that_slept_is_late_for_what_had_closed_by_the_tables(
    field: Field, state: str
) -> None:
    field.create(2)
    field.settings |= {"MILLSTREAM_IDLE_TIMEOUT": "2s"}
    flow = field.flow()
    try:
        field.send(payment(0), partition=1)
        field.send(payment(60))
        wait_until(lambda: rows(field) == 2)
        if state == "old":
            assert flow.tell(signal.SIGTERM) == 0, flow.said()
            shutil.copytree(field.folder / "state", field.folder / "old")
            flow = field.flow()
        time.sleep(2.5)  # more than the idle timeout
        field.send(payment(600))
        # In an epoch without records, as the clock lets go of partition 1 at an epoch's end.
        wait_until(lambda: closed(field) == 120)
    finally:
        flow.kill()
    shutil.rmtree(field.folder / "state")
    if state == "old":
        shutil.move(field.folder / "old", field.folder / "state")
    # By the tables all before 12:09 has closed, but of 12:05 there was no record.
    field.send(payment(300), payment(660), partition=1)
    field.send(payment(661))
    flow = field.flow(STOP_AT_END="true")
    assert flow.wait() == 0, flow.said()
    assert offsets(field.table("silver/payments"), 1) == [0, 1, 2]
    late = field.table("gold/late")
    late = late.filter(late["step"] == "terminal_minute")
    assert late.select("source_partition", "source_offset").rows() == [(1, 1)]
    report = verify(settings_.load(field.settings))
    assert report.ok, [check for check in report.checks if not check.ok]


def rows(field: Field) -> int:
    path = str(field.folder / "tables" / "bronze/payments")
    return bronze(field) if DeltaTable.is_deltatable(path) else 0
