import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from ops import local, local_cli
from ops.processes import Server, ServerError, from_json, start, to_json


def test_the_stack_serves_kafka_and_redis_and_ends_with_its_block(capfd):
    with local.local_stack() as stack:
        assert set(stack.env()) == {
            "BYTEWAX_RECOVERY_BACKUP_INTERVAL",
            "BYTEWAX_SNAPSHOT_INTERVAL",
            "MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS",
            "MILLSTREAM_REDIS_URL",
            "MILLSTREAM_DELTA_ROOT",
        }
        assert local.create_topic(stack.bootstrap, "t", 3)
        assert not local.create_topic(stack.bootstrap, "t", 3)
        with pytest.raises(ValueError, match="3 partitions, not 4"):
            local.create_topic(stack.bootstrap, "t", 4)

        quiet = {"bootstrap.servers": stack.bootstrap, "log_level": 0}
        producer = Producer(quiet)
        producer.produce("t", b"value", key=b"key", partition=2)
        assert producer.flush(10) == 0
        consumer = Consumer(
            {
                "bootstrap.servers": stack.bootstrap,
                "group.id": "g",
                "enable.partition.eof": True,
            }
        )
        consumer.assign([TopicPartition("t", 2, 0)])
        first, second = consumer.poll(10), consumer.poll(10)
        consumer.close()
        assert (first.key(), first.value(), first.offset()) == (b"key", b"value", 0)
        assert second.error().code() == KafkaError._PARTITION_EOF

        with redis.Redis.from_url(stack.redis_url) as client:
            assert client.set("a", 1)
            # An unclean stop must not leave a dump behind that a later start would load.
            assert client.config_get("save") == {"save": ""}
        assert (stack.folder / "broker.log").exists()
    assert not stack.folder.exists()
    with pytest.raises(redis.ConnectionError):
        redis.Redis.from_url(stack.redis_url).ping()
    assert capfd.readouterr().err == ""


def test_servers_die_with_a_parent_that_is_killed(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from ops.processes import *\n"
        "command = lambda port: [sys.executable, '-c', 'import time; time.sleep(60)']\n"
        "server, _ = start('sleeper', command, lambda port: True, Path(sys.argv[1]))\n"
        "print(to_json([server]), flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "log")], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    lines = [parent.stdout.readline() for _ in range(12)]
    (server,) = from_json("".join(lines))
    assert server.alive()
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 5
    while server.alive() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not server.alive()


def test_a_server_that_exits_at_once_is_an_error_that_names_its_log(tmp_path):
    log = tmp_path / "broken.log"
    with pytest.raises(
        ServerError, match=r"broken: exited with code 7 at start; see .*broken.log"
    ):
        start("broken", lambda _: [sys.executable, "-c", "exit(7)"], lambda _: False, log)


def test_a_server_that_never_gets_ready_is_ended(tmp_path):
    command = [sys.executable, "-c", "import os, time; print(os.getpid()); time.sleep(60)"]
    log = tmp_path / "log"
    with pytest.raises(ServerError, match="not ready within"):
        start("slow", lambda _: command, lambda _: False, log, timeout=1)
    with pytest.raises(ProcessLookupError):
        os.kill(int(log.read_text() or 2**22), 0)


def test_a_taken_port_is_refused(tmp_path):
    with local.start_redis(folder=tmp_path) as url:
        port = int(url.rsplit(":", 1)[1].split("/")[0])
        with pytest.raises(ServerError, match="already listens"), local.start_redis(port):
            pass


def test_a_process_with_a_reused_pid_is_not_ours():
    mine = Server("x", os.getpid(), 1, born=1, log="")
    assert not mine.alive()
    assert from_json(to_json([mine])) == [mine]


def millstream(*args: str) -> int:
    parser = argparse.ArgumentParser(prog="millstream")
    local_cli.add_parser(parser.add_subparsers(required=True))
    parsed = parser.parse_args(["local", *args])
    return parsed.func(parsed)


def test_up_twice_then_down_twice(tmp_path, capsys):
    folder = ["--folder", str(tmp_path / "stack"), "--json"]
    assert millstream("status", *folder) == 3
    capsys.readouterr()
    try:
        assert millstream("up", *folder) == 0
        env = json.loads(capsys.readouterr().out)
        assert millstream("up", *folder) == 0
        assert json.loads(capsys.readouterr().out) == env
        exports = (tmp_path / "stack" / "env").read_text()
        assert f"export MILLSTREAM_REDIS_URL={env['MILLSTREAM_REDIS_URL']}\n" in exports

        # A server that died is replaced; the other one keeps what it holds.
        broker, server = from_json((tmp_path / "stack" / "stack.json").read_text())
        os.kill(server.pid, signal.SIGKILL)
        os.waitpid(server.pid, 0)
        assert millstream("status", *folder) == 3
        assert json.loads(capsys.readouterr().out)["alive"] == {"broker": True, "redis": False}
        assert millstream("up", *folder) == 0
        assert from_json((tmp_path / "stack" / "stack.json").read_text())[0] == broker
        assert millstream("status", *folder) == 0
    finally:
        capsys.readouterr()
        assert millstream("down", *folder) == 0
    assert json.loads(capsys.readouterr().out) == {"ended": ["broker", "redis"]}
    assert millstream("down", *folder) == 0
    assert json.loads(capsys.readouterr().out) == {"ended": []}


def test_a_damaged_state_file_is_a_clear_error(tmp_path, capsys):
    Path(tmp_path / "stack.json").write_text("{}")
    assert millstream("up", "--folder", str(tmp_path)) == 1
    assert "not a state file of the local stack" in capsys.readouterr().err
