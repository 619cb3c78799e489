"""How a flow that cannot go on ends, on Bytewax, in one process and in several."""

import errno
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, KafkaException
from deltalake.exceptions import DeltaError
from redis.exceptions import ConnectionError as RedisConnectionError

from flows import ending
from operators.connectors.delta.table import FencedError
from tests.running import environment
from tests.servers.ports import lasting_port

_ROOT = Path(__file__).parents[2]
_PEER = "millstream: another process of this flow has ended"


def start(kind: str, where: str, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "tests.flows.failing", kind, where, *arguments],
        cwd=_ROOT, env=environment({}), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def cluster(kind: str, where: str) -> list["subprocess.Popen[str]"]:
    addresses = f"127.0.0.1:{lasting_port()};127.0.0.1:{lasting_port()}"
    return [start(kind, where, "-i", str(number), "-a", addresses) for number in (0, 1)]


@pytest.mark.parametrize(
    ("where", "workers"), [("step", "1"), ("snapshot", "1"), ("source", "2"), ("sink", "2")]
)
def test_a_known_error_is_one_line_and_nothing_else(where: str, workers: str) -> None:
    process = start("known", where, "-w", workers)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (1, "millstream: mend the world\n")


def test_a_fault_of_ours_keeps_its_whole_traceback_and_says_it_once() -> None:
    process = start("own", "next_batch")
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said.count("ValueError: a mistake of ours\n") == 1
    assert 'failing.py", line' in said
    assert 'in step "failing.in"' in said
    assert "panicked" not in said


@pytest.mark.parametrize("kind", ["known", "own"])
def test_of_several_processes_one_says_why_and_the_others_that_one_has_ended(kind: str) -> None:
    """Bytewax loses the reason, and ends by an abort more often than not."""
    processes = cluster(kind, "sink")
    said = sorted(
        (process.communicate(timeout=60)[1] for process in processes), key=_PEER.__eq__
    )
    assert [process.returncode for process in processes] == [1, 1]
    (peer,) = [text for text in said if text.startswith(_PEER)]
    (why,) = [text for text in said if text != peer]
    assert peer.count("\n") == 1
    if kind == "known":
        assert why == "millstream: mend the world\n"
    else:
        assert why.startswith("Traceback")
        assert "ValueError: a mistake of ours\n" in why


def test_a_process_that_is_killed_is_told_of_by_the_others() -> None:
    processes = cluster("none", "none")
    for process in processes:
        assert process.stdout is not None
        assert any(line == "connected\n" for line in process.stdout)
    processes[1].kill()
    _, said = processes[0].communicate(timeout=60)
    processes[1].communicate()
    assert processes[0].returncode == 1
    assert said.startswith(_PEER)
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "part"),
    [
        (FencedError("table a\nmoved"), "table a moved"),
        (KafkaException(KafkaError(KafkaError._TRANSPORT)), "Kafka: "),
        (RedisConnectionError("Connection refused"), "Redis: Connection refused; check"),
        (sqlite3.OperationalError("database or disk is full"), "recovery store cannot be used"),
        (OSError(errno.ENOSPC, "No space left on device", "/x"), "/x: No space left on device"),
        (OSError("Generic S3 error: 503"), ": Generic S3 error"),
        (DeltaError("no log"), "a table cannot be read or written"),
        (
            RuntimeError(
                "(src/run.rs:1) panicked at src/recovery.rs:548:9:\ncalled `Result::unwrap()` on "
                "an `Err` value: SqliteFailure(Error { code: DiskFull, extended_code: 13 }, "
                'Some("database or disk is full"))'
            ),
            "the recovery store cannot be used: database or disk is full",
        ),
        (
            RuntimeError(
                "(src/run.rs:292:17) panicked at /x/timely-dataflow-4c0cc365061cd263/432ef57/"
                "communication/src/allocator/zero_copy/tcp.rs:21:5:\n"
                "timely communication error: reading data: socket closed"
            ),
            "another process of this flow has ended",
        ),
        (
            RuntimeError("StateKey(old/1) is not in this worker's routing map"),
            "the recovery directory does not fit this flow: StateKey(old/1)",
        ),
    ],
)
def test_what_is_known_of_an_error(error: Exception, part: str) -> None:
    line = ending.known(error)
    assert line is not None
    assert part in line
    assert "\n" not in line


@pytest.mark.parametrize(
    "error", [ValueError("x"), RuntimeError("x"), FileNotFoundError(errno.ENOENT, "no file", "/x"),
              KeyError("x")],
)  # fmt: skip
def test_what_may_be_a_fault_of_ours_is_not_known(error: Exception) -> None:
    assert ending.known(error) is None
