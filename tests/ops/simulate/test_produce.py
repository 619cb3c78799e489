import argparse
import json
import time

import polars as pl
import pytest
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from ops.local import start_broker
from ops.simulate import Params, ProduceError, cli, produce, simulate
from ops.simulate.encode import partitions_of
from ops.topics import create_topic

PARAMS = Params(customers=300, terminals=2_000, payments=10_000, partitions=3)


@pytest.fixture(scope="module")
def broker():
    with start_broker() as bootstrap:
        yield bootstrap


def read(bootstrap: str, topic: str, partitions: int) -> dict[int, list]:
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "log_level": 0,
            "group.id": "test",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    consumer.assign([TopicPartition(topic, number, 0) for number in range(partitions)])
    found: dict[int, list] = {number: [] for number in range(partitions)}
    open_ends = set(found)
    deadline = time.monotonic() + 60
    while open_ends:
        assert time.monotonic() < deadline
        for message in consumer.consume(5_000, 0.1):
            if message.error():
                assert message.error().code() == KafkaError._PARTITION_EOF
                open_ends.discard(message.partition())
            else:
                found[message.partition()].append(message)
    consumer.close()
    return found


def test_a_topic_holds_each_record_once_and_in_order(broker):
    simulation = simulate(PARAMS)
    create_topic(broker, "whole", 3)
    told: list[int] = []
    produce(simulation, broker, "whole", progress=told.append)
    assert told[-1] == simulation.records.height

    for number, messages in read(broker, "whole", 3).items():
        expected = simulation.records.filter(pl.col("partition") == number)
        assert [m.offset() for m in messages] == list(range(expected.height))
        assert [m.value() for m in messages] == expected["value"].to_list()
        assert [m.key() for m in messages] == expected["key"].to_list()
        headers = [(m.headers() or [(None, None)])[0][1] for m in messages]
        assert headers == expected["header"].to_list()
        sequence = simulation.truth.filter(pl.col("partition") == number)["sequence"]
        assert sequence.to_list() == list(range(expected.height))


def test_partitions_are_those_that_kafkas_own_clients_choose(broker):
    keys = ["", "a", "ab", "abc", "abcd", "é", *(f"card-{i:06d}" for i in range(500))]
    create_topic(broker, "keys", 7)
    producer = Producer(
        {"bootstrap.servers": broker, "log_level": 0, "partitioner": "murmur2_random"}
    )
    for key in keys:
        producer.produce("keys", b"", key=key)
    assert producer.flush(10) == 0
    chosen = {
        message.key().decode(): number
        for number, messages in read(broker, "keys", 7).items()
        for message in messages
    }
    assert partitions_of(pl.Series(keys), 7).tolist() == [chosen[key] for key in keys]


def test_a_rate_is_kept(broker):
    simulation = simulate(Params(customers=300, terminals=2_000, payments=500, partitions=1))
    create_topic(broker, "paced", 1)
    took = produce(simulation, broker, "paced", rate=500)
    assert took > 0.9


def test_a_topic_that_is_not_there_and_no_broker_are_errors(broker):
    simulation = simulate(Params(customers=300, terminals=2_000, payments=50))
    create_topic(broker, "narrow", 1)
    with pytest.raises(ProduceError, match=r"narrow at .*(records lost|Unknown partition)"):
        produce(simulation, broker, "narrow", settings={"log_level": "0"})
    with pytest.raises(ProduceError, match="records lost"):
        produce(simulation, "127.0.0.1:1", "t", settings={"log_level": "0"}, timeout=1)


def millstream(*args: str) -> int:
    parser = argparse.ArgumentParser(prog="millstream")
    cli.add_parser(parser.add_subparsers(required=True))
    parsed = parser.parse_args(["simulate", *args])
    return parsed.func(parsed)


def test_the_command_produces_and_writes_the_truth(broker, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS", broker)
    monkeypatch.setenv("MILLSTREAM_TOPIC", "by-command")
    truth = tmp_path / "truth.parquet"
    size = ["--payments", "3000", "--customers", "300", "--terminals", "2000", "--seed", "3"]
    assert millstream(*size, "--partitions", "2", "--truth", str(truth), "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["payments"] == 3_000
    assert summary["topic"] == "by-command"
    written = pl.read_parquet(truth)
    assert summary["records"] == written.height == sum(summary["kinds"].values())
    assert sum(map(len, read(broker, "by-command", 2).values())) == written.height

    assert millstream(*size, "--no-troubles", "--late", "0.5", "--topic", "calm") == 0
    shown = capsys.readouterr().out
    assert "3,000 records to calm" in shown
    assert "late 1," in shown


def test_the_command_makes_any_declared_stream(broker, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS", broker)
    monkeypatch.setenv("MILLSTREAM_CLICKS_TOPIC", "clicks-by-command")
    truth = tmp_path / "truth.parquet"
    more = ["--records", "500", "--partitions", "2", "--truth", str(truth), "--json"]
    assert millstream("--stream", "clicks", *more) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["topic"] == "clicks-by-command"
    assert summary["clicks"] == 500
    assert "frauds" not in summary
    written = pl.read_parquet(truth)
    assert set(written["stream"]) == {"clicks"}
    there = read(broker, "clicks-by-command", 2)
    assert sum(map(len, there.values())) == written.height == summary["records"]
    assert millstream("--stream", "clicks", "--records", "20", "--topic", "other") == 0
    shown = capsys.readouterr().out
    assert "records to other" in shown
    assert "20 clicks\n" in shown


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--payments", "0"], "payments is 0"),
        (["--rate", "0"], "--rate is 0"),
        (["--file", "x.parquet", "--days", "3"], "--days is not for --file"),
        (["--since", "2018-04-02"], "--since is only for --file"),
        (["--file", "nowhere.parquet"], "nowhere.parquet"),
        (["--late", "1.5"], "late is 1.5, not a share"),
        (
            ["--stream", "clicks", "--days", "3", "--cards", "2"],
            "only for payments: --days, --cards",
        ),
        (["--stream", "clicks", "--records", "0"], "records is 0"),
        (["--truth", "/nowhere/at/all.parquet"], "no folder /nowhere/at"),
    ],
)
def test_bad_options_are_clear_errors(args, message, capsys):
    assert millstream("--bootstrap", "127.0.0.1:1", *args) == 2
    assert message in capsys.readouterr().err


def test_a_setting_that_names_no_topic_is_a_clear_error(capsys, monkeypatch):
    monkeypatch.setenv("MILLSTREAM_CLICKS_TOPIC", "of clicks")
    assert millstream("--bootstrap", "127.0.0.1:1", "--stream", "clicks") == 2
    told = "millstream simulate: MILLSTREAM_CLICKS_TOPIC: 'of clicks' is no topic's name"
    assert capsys.readouterr().err.startswith(told)


def test_no_broker_named_is_a_clear_error(capsys, monkeypatch):
    monkeypatch.delenv("MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS", raising=False)
    assert millstream() == 2
    assert "MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS" in capsys.readouterr().err
