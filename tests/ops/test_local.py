import argparse
import json
import os
import signal
from pathlib import Path

import pytest
import redis
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from ops import local, local_cli
from ops.processes import ServerError, from_json
from ops.topics import create_topic


def test_the_stack_serves_kafka_and_redis_and_ends_with_its_block(capfd):
    with local.local_stack() as stack:
        assert set(stack.env()) == {
            "BYTEWAX_RECOVERY_BACKUP_INTERVAL",
            "BYTEWAX_SNAPSHOT_INTERVAL",
            "MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS",
            "MILLSTREAM_REDIS_URL",
            "MILLSTREAM_DELTA_ROOT",
            "SCHEMA_REGISTRY_URL",
        }
        create_topic(stack.bootstrap, "t", 3)
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


def test_a_taken_port_is_refused(tmp_path):
    with local.start_redis(folder=tmp_path) as url:
        port = int(url.rsplit(":", 1)[1].split("/")[0])
        with pytest.raises(ServerError, match="already listens"), local.start_redis(port):
            pass


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
        broker, server, _ = from_json((tmp_path / "stack" / "stack.json").read_text())
        os.kill(server.pid, signal.SIGKILL)
        os.waitpid(server.pid, 0)
        assert millstream("status", *folder) == 3
        alive = json.loads(capsys.readouterr().out)["alive"]
        assert alive == {"broker": True, "redis": False, "registry": True}
        assert millstream("up", *folder) == 0
        assert from_json((tmp_path / "stack" / "stack.json").read_text())[0] == broker
        assert millstream("status", *folder) == 0
    finally:
        capsys.readouterr()
        assert millstream("down", *folder) == 0
    assert json.loads(capsys.readouterr().out) == {"ended": ["broker", "redis", "registry"]}
    assert millstream("down", *folder) == 0
    assert json.loads(capsys.readouterr().out) == {"ended": []}


def test_a_damaged_state_file_is_a_clear_error(tmp_path, capsys):
    Path(tmp_path / "stack.json").write_text("{}")
    with pytest.raises(SystemExit) as ended:
        millstream("up", "--folder", str(tmp_path))
    assert ended.value.code == 1
    assert "not a state file of the local stack" in capsys.readouterr().err
