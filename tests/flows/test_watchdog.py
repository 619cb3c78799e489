"""A flow that stands still ends by itself, says where it stood, and goes on exactly there."""

import contextlib
import signal
import socket
import time
from dataclasses import replace
from pathlib import Path

from redis import Redis

from flows import watchdog
from flows.settings import load
from flows.streams import PAYMENTS
from operators.connectors.pulse import MEETING
from ops.local import Stack
from ops.simulate import produce
from tests import topics
from tests.compare import Difference, read_tables
from tests.running import Flow, run, wait_until
from tests.servers.ports import lasting_port

SECONDS = 6
SUSPENDED = SECONDS + 3
STALL = {"MILLSTREAM_STALL_TIMEOUT": f"{SECONDS}s", "MILLSTREAM_BATCH_SIZE": "100"}
SINK = "operators.connectors.delta.writer.Writer._write"
STEP = "operators.connectors.redis.dedup_store.RedisDedupStore.first"


def test_a_commit_a_step_or_a_peer_that_never_comes_back_ends_it_and_no_row_is_another(
    stack: Stack, tmp_path: Path
) -> None:
    name, made = tmp_path.name, topics.made(1_600, partitions=2)
    (whole,) = [each for suffix, each in made.items() if not suffix]
    shares = [replace(whole, records=each) for each in whole.records.iter_slices(300)]
    topics.fill(stack.bootstrap, name, {"": shares.pop()}, 2)
    settings = topics.settings(stack, name, tmp_path) | STALL
    stuck = tmp_path / "work" / "stuck"

    def commits() -> int:
        log = tmp_path / "tables" / PAYMENTS.bronze.name / "_delta_log"
        return len(list(log.glob("*.json")))

    def send_more() -> None:
        produce(shares.pop(), stack.bootstrap, name)

    def at_work(before: int) -> None:
        wait_until(lambda: commits() > before)

    # A commit, in a thread that is no worker's.
    flow = Flow("payments", settings, tmp_path, stuck=SINK)
    at_work(1)  # its first commit made it
    # An outage that is waited for is none.
    with Redis.from_url(stack.redis_url) as client:
        client.client_pause(SUSPENDED * 1_000)
    time.sleep(SUSPENDED)
    before = commits()
    send_more()
    at_work(before)
    assert "waiting for Redis" in flow.said()
    stuck.touch()
    send_more()
    assert flow.wait(120) == watchdog.STATUS, flow.said()
    *log, last = flow.said().splitlines()
    assert any("in stick" in line for line in log), "the stack of the thread that hangs"
    assert last.startswith("millstream: the flow stood still"), last
    assert "operators/connectors/delta/writer.py" in last
    assert "MILLSTREAM_STALL_TIMEOUT" in last

    # A step that keeps the interpreter's lock: no thread of Python's can run any more.
    stuck.unlink()
    before = commits()
    flow = Flow("payments", settings, tmp_path, stuck=f"{STEP}:held")
    at_work(before)
    suspend(flow, SUSPENDED)
    before = commits()
    send_more()
    at_work(before)
    stuck.touch()
    assert flow.wait(120) == -signal.SIGALRM, flow.said()
    assert "in stick" in flow.said().partition("Timeout")[2], flow.said()

    # A process of two that is stopped.
    addresses = ";".join(f"127.0.0.1:{lasting_port()}" for _ in range(2))
    arguments = ["-r", str(tmp_path / "payments"), "-a", addresses]
    before = commits()
    both = [
        Flow("payments", settings, tmp_path / number, *arguments, "-i", number)
        for number in "01"
    ]
    try:
        send_more()
        at_work(before)
        time.sleep(SUSPENDED)  # an idle topic is none either
        both[1].process.send_signal(signal.SIGSTOP)
        assert both[0].process.wait(120) == watchdog.STATUS, both[0].said()
        assert "process 0 stood still" in both[0].said()
        assert "it waits for another process" in both[0].said()
        both[1].process.send_signal(signal.SIGCONT)
        # It had been silent for long itself, or not, by the time that it heard of the other's end.
        assert both[1].process.wait(60) in (1, watchdog.STATUS), both[1].said()
        assert "another process of this flow has ended" in both[1].said()
    finally:
        for each in both:
            each.kill()

    while shares:
        send_more()
    bounded = settings | topics.TO_THE_END
    run("payments", bounded, tmp_path)
    alone = topics.settings(stack, name, tmp_path / "alone") | topics.TO_THE_END
    outputs = ("ALERTS_TOPIC", "DECISIONS_TOPIC", "DLQ_TOPIC", "CONSUMER_GROUP")
    alone |= {f"MILLSTREAM_{each}": f"{name}.alone.{each}" for each in outputs}
    run("payments", alone, tmp_path / "alone")
    expected, difference = read_tables(load(alone), "payments"), Difference()
    for table, frame in read_tables(load(bounded), "payments").items():
        difference.add(table, expected[table], frame)
    assert difference.examples == []
    assert expected[PAYMENTS.bronze.name].height == whole.records.height


def test_a_process_that_never_meets_the_others_ends_too(stack: Stack, tmp_path: Path) -> None:
    """Somebody who says nothing was taken for the other process, which so is missing."""
    name, (here, other) = tmp_path.name, (lasting_port(), lasting_port())
    topics.fill(stack.bootstrap, name, {"": topics.made(40, partitions=2)[""]}, 2)
    settings = topics.settings(stack, name, tmp_path) | {"MILLSTREAM_STALL_TIMEOUT": "1s"}
    arguments = ["-r", str(tmp_path / "payments"), "-s", "1", "-a"]
    arguments += [f"127.0.0.1:{here};127.0.0.1:{other}", "-i"]

    def begun(settings: dict[str, str], number: str) -> Flow:
        return Flow("payments", settings, tmp_path / number, *arguments, number)

    with contextlib.ExitStack() as ends:

        def is_taken() -> bool:
            with contextlib.suppress(ConnectionRefusedError):
                ends.enter_context(socket.create_connection(("127.0.0.1", here)))
                return True
            return False

        both = [begun(settings, "0")]
        ends.callback(both[0].kill)
        wait_until(is_taken)
        both.append(begun(settings, "1"))
        # The other one hears of its end, if it does not end so itself.
        assert [each.wait(120) for each in both] == [watchdog.STATUS] * 2, both[1].said()
        assert f"({MEETING}): no epoch has ended" in both[0].said()
        assert "it waits for another process" in both[0].said()
    both = [begun(settings | topics.TO_THE_END, number) for number in "01"]
    assert [each.wait(120) for each in both] == [0, 0], both[0].said()


def suspend(flow: Flow, seconds: float) -> None:
    """Stop a process for so long, and let it go on."""
    flow.process.send_signal(signal.SIGSTOP)
    time.sleep(seconds)
    flow.process.send_signal(signal.SIGCONT)
