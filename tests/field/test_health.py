"""What a process is at, as its own metrics tell it: each state of a flow that runs."""

import time
from pathlib import Path

import pytest
from redis import Redis

from flows import watchdog
from flows.health import behind
from ops.health import Health, look
from tests.field import refused
from tests.field.topic import Field, payments
from tests.running import Flow, wait_until
from tests.scraped import scrape, served
from tests.servers.ports import lasting_port

SINK = "operators.connectors.delta.writer.Writer._write"
PLACE = ("payments", "0")
FEW = {"MILLSTREAM_BATCH_SIZE": "100"}


@pytest.mark.parametrize(
    ("looks", "lags"),
    [
        # More than it reads in a minute; as much.
        ([(0, 0, 700), (10, 100, 601)], True),
        ([(0, 0, 700), (10, 100, 600)], False),
        # Nothing is read of what has been there for a while; not for long enough to say.
        ([(0, 5, 3), (60, 5, 3)], True),
        ([(0, 5, 3), (9, 5, 3)], False),
        # It was at its end meanwhile, or that is not known.
        ([(0, 0, 9), (10, 5, 0), (20, 5, 900)], False),
        ([(0, 0, float("nan")), (10, 5, 900)], False),
    ],
)
def test_a_partition_lags_that_falls_behind_a_minute(
    looks: list[tuple[float, float, float]], lags: bool
) -> None:
    seen = [(at, {PLACE: (read, left)}) for at, read, left in looks]
    assert bool(behind(seen, 60)) is lags


def test_states_of_a_flow_from_its_start_to_a_pause(local: Field, tmp_path: Path) -> None:
    field, ports = local, [lasting_port() for _ in range(4)]
    field.create(2)
    where = f"127.0.0.1:{ports[0]}"
    addresses = ";".join(f"127.0.0.1:{each}" for each in ports[2:])

    def process(number: int) -> Flow:
        folder = tmp_path / str(number)
        settings = field.settings | FEW | served(ports[number], tmp_path)
        arguments = ("-a", addresses, "-i", str(number), "-r", str(tmp_path / "state"))
        return Flow(
            "payments", settings, folder, *arguments, recovery=False,
            altered="flows.health.WINDOW=6",
        )  # fmt: skip

    def is_at(state: str) -> bool:
        return look(where).state == state

    assert look(where) == Health(where, "away")
    flows = [process(0)]
    try:
        # It waits for the other one.
        wait_until(lambda: is_at("starting"))
        found = look(where)
        assert (found.live, found.ready) == (True, False)
        flows.append(process(1))
        wait_until(lambda: is_at("running"))
        # Tables are those of all processes: one tells of them.
        assert scrape(ports[0], "millstream_dead_letters_open")
        assert not scrape(ports[1], "millstream_dead_letters_open")
        field.send(*payments(0, 49))
        field.send(*payments(50, 99), partition=1)
        wait_until(lambda: field.table("silver/payments").height == 100)
        assert look(where).ready
        # Nothing is read on while Redis does not answer.
        with Redis.from_url(field.stack.redis_url) as client:
            client.client_pause(20_000)
        for partition in range(2):
            first = 100 + 1_000 * partition
            field.send(*payments(first, first + 999), partition=partition)
        wait_until(lambda: is_at("lagging"), 19)
        found = look(where)
        assert (found.live, found.ready) == (True, True)
        assert 0 < sum(found.to_read.values()) <= 1_000
        wait_until(lambda: is_at("running"))
        # What comes of a bad deployment.
        for partition in range(2):
            bad = (refused.truncated(n % 100) for n in range(1_500))
            field.send(*bad, partition=partition)
        wait_until(lambda: is_at("paused"))
        found = look(where)
        assert (found.live, found.ready) == (True, True)
        assert found.paused in ([f"{field.topic}/0"], [f"{field.topic}/1"]), "its own alone"
        assert all(each.process.poll() is None for each in flows)
    finally:
        for each in flows:
            each.kill()


def test_one_that_is_stuck_is_told_before_it_ends_itself(local: Field, tmp_path: Path) -> None:
    field, port = local, lasting_port()
    field.create()
    where = f"127.0.0.1:{port}"
    stall = {"MILLSTREAM_STALL_TIMEOUT": "20s"}
    flow = Flow(
        "payments", field.settings | served(port, tmp_path) | stall, tmp_path, stuck=SINK
    )
    try:
        wait_until(lambda: look(where).state == "running")
        (tmp_path / "work" / "stuck").touch()
        field.send(*payments(0, 9))
        began = time.monotonic()
        wait_until(lambda: look(where).state == "stuck", 60)
        found = look(where)
        # The watchdog is to end it, which knows where it stands: no probe is to be before that.
        assert (found.live, found.ready) == (True, False)
        assert 0.5 <= found.stalled < 1
        assert flow.wait(60) == watchdog.STATUS, flow.said()
        assert time.monotonic() - began > 20
        assert look(where).state == "away"
    finally:
        flow.kill()
