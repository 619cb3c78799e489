"""The enforce flow whole: topics of three formats, killed, then on two processes."""

import signal
from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from confluent_kafka import Producer

from operators.connectors.kafka.client import headers_of
from ops.dlq import streams as dlq_streams
from ops.local import Stack
from ops.topics import create_topic
from tests.field.refused import told
from tests.flows.enforced import (
    PARTITIONS,
    SIZE,
    Sent,
    asked,
    expected,
    records,
    send,
    settings,
    table,
    there,
)
from tests.running import Flow, run, wait_until
from tests.servers.ports import lasting_port


@pytest.fixture(scope="module")
def enforced(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Sent]:
    """Run the flow on three topics: killed in its midst, then on two processes to the end."""
    folder = tmp_path_factory.mktemp("enforce")
    every = records()
    for name in every:
        create_topic(stack.bootstrap, f"{folder.name}.{name}", PARTITIONS)
    mine = settings(stack, folder)
    half = {name: some[: len(some) // 2] for name, some in every.items()}
    send(stack, folder.name, half)
    # The third topic is declared later, by when the flow has its state.
    later = (folder / "enforced" / "heartbeats").rename(folder / "later")
    flow = Flow("enforce", mine, folder)
    log = folder / "tables" / "silver" / "orders" / "_delta_log"
    wait_until(lambda: (log / f"{1:020}.json").exists() or flow.process.poll() is not None)
    send(stack, folder.name, {n: s[len(s) // 2 :] for n, s in every.items()})
    validated = f"{folder.name}.orders.validated"
    wait_until(
        lambda: (
            flow.process.poll() is not None or sum(map(len, there(stack, validated))) > SIZE / 2
        )
    )
    assert flow.process.poll() is None, flow.said()
    flow.kill()
    later.rename(folder / "enforced" / "heartbeats")
    ends = mine | {"MILLSTREAM_STOP_AT_END": "true"}
    addresses = ";".join(f"127.0.0.1:{lasting_port()}" for _ in range(2))
    both = [Flow("enforce", ends, folder, "-i", i, "-a", addresses) for i in "01"]
    assert [each.wait() for each in both] == [0, 0], [each.said() for each in both]
    return folder, every


@pytest.fixture
def ran(
    stack: Stack, enforced: tuple[Path, Sent], monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, Sent]:
    """Give what the flow has run on, with its settings in the environment of tools."""
    for name, value in settings(stack, enforced[0]).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MILLSTREAM_REDIS_URL", raising=False)
    return enforced


def test_what_is_good_goes_on_as_it_came_once_and_in_order(
    stack: Stack, enforced: tuple[Path, Sent]
) -> None:
    folder, every = enforced
    good = {n for n in range(SIZE) if n % 20 != 7}
    for name in ("orders", "readings"):
        got = there(stack, f"{folder.name}.{name}.validated")
        records_there = [
            [
                (m.key(), m.value(), [h for h in m.headers() if "millstream" not in h[0]])
                for m in p
            ]
            for p in got
        ]
        assert records_there == expected(every, name, good), name
        source = there(stack, f"{folder.name}.{name}")
        for partition in range(PARTITIONS):
            offsets = []
            for message in got[partition]:
                headers = dict(message.headers())
                place, _, made_of = headers["millstream.record"].decode().partition("@")
                topic, p, offset = place.split("/")
                assert "/" in made_of
                assert (topic, int(p)) == (f"{folder.name}.{name}", partition)
                offsets.append(int(offset))
                assert message.timestamp() == source[partition][int(offset)].timestamp()
            silver = table(folder, f"silver/{name}").filter(source_partition=partition)
            assert silver["source_offset"].to_list() == offsets


def test_silver_has_the_columns_of_the_schemas(enforced: tuple[Path, Sent]) -> None:
    folder, _ = enforced
    orders = table(folder, "silver/orders").row(3, named=True)
    assert orders["order_id"] == "order-6"
    assert orders["customer"] == {"id": "customer-6", "country": None}
    assert (orders["lines"], orders["amount"], orders["currency"]) == ([6, 7], 6.5, None)
    assert f"{orders['ordered_at']:%H:%M:%S}" == "12:00:06"
    assert table(folder, "silver/readings")["place"][4] == {"room": 3}
    beats = table(folder, "silver/heartbeats")
    repaired = beats.filter(pl.col("repairs").is_not_null())
    assert repaired.height == 10
    assert set(beats["sensor"]) == {"a"}
    assert beats.height == 300 - 15 - 15
    assert not (folder / "tables" / "bronze").exists()


def test_what_is_bad_is_kept_with_its_reason_and_sent_as_a_dead_letter(
    stack: Stack, enforced: tuple[Path, Sent]
) -> None:
    folder, every = enforced
    codes = {
        "orders": {
            "malformed", "duplicate_name", "bad_utf8", "unknown_version", "schema_required",
            "amount_range", "schema_format", "other_schema", "not_an_object", "empty",
        },
        "readings": {"malformed", "unknown_schema", "value_range", "bad_magic"},
        "heartbeats": {"schema_type", "unknown_version"},
    }  # fmt: skip
    for name, some in codes.items():
        rows = table(folder, f"quarantine/{name}")
        of = (7, 8) if name == "heartbeats" else (7,)
        bad = [n for n in range(len(every[name])) if n % 20 in of]
        assert rows.height == len(bad)
        assert set(rows["code"]) == some
        assert rows.filter(pl.col("message").str.contains("noon")).height == 0
        letters = [m for part in there(stack, f"{folder.name}.{name}.dlq") for m in part]
        counts = Counter(dict(m.headers())["millstream.code"].decode() for m in letters)
        assert counts == Counter(rows["code"].to_list())
        values = Counter(m.value() for m in letters)
        assert values == Counter(every[name][n][1] for n in bad)
        connect = {
            "__connect.errors.stage",
            "kafka_dlt-exception-message",
            "__streams.errors.topic",
        }
        assert connect <= {name for name, _ in letters[0].headers()}


def test_two_slices_make_the_same_tables_and_one_that_dies_leaves_the_other_at_work(
    stack: Stack, enforced: tuple[Path, Sent], tmp_path: Path
) -> None:
    whole, every = enforced
    mine = settings(stack, tmp_path) | {"MILLSTREAM_STOP_AT_END": "true"}
    for contract in (tmp_path / "enforced").glob("*/contract.yaml"):
        # The same topics, to topics of their own.
        text = contract.read_text().replace(f"topic: {tmp_path.name}", f"topic: {whole.name}")
        name = f"{tmp_path.name}.{contract.parent.name}"
        if "validated" not in text:
            text += f"validated: {name}.validated\n"
        contract.write_text(f"{text}dlq: {name}.dlq\n")

    def slice_(number: int, at: str = "") -> Flow:
        own = mine | {"MILLSTREAM_SLICE": f"{number}/2"}
        return Flow("enforce", own, tmp_path / str(number), at=at)

    # Behind the first of its tables' commits, before the recovery store's.
    dies = slice_(1, at="operators.connectors.delta.writer.write:kill")
    lives = slice_(0)
    assert dies.wait() == -signal.SIGKILL, dies.said()
    assert lives.wait() == 0, lives.said()
    names = [f"{kind}/{name}" for name in every for kind in ("silver", "quarantine")]
    for name in names:
        there_now = set(table(tmp_path, name).filter(source_partition=0)["source_offset"])
        assert there_now == set(table(whole, name).filter(source_partition=0)["source_offset"])
    again = slice_(1)
    assert again.wait() == 0, again.said()
    assert "slice 1/2, one process" in again.said()
    stamps = ["written_at", "refused_at"]
    for name in names:
        ours, theirs = (
            table(each, name).drop(stamps, strict=False) for each in (tmp_path, whole)
        )
        assert ours.equals(theirs), name
    for name in ("orders.validated", "readings.validated", "orders.dlq", "readings.dlq"):
        ours, theirs = (there(stack, f"{each.name}.{name}") for each in (tmp_path, whole))
        got, expected_ = (
            [sorted((m.key() or b"", m.value() or b"") for m in part) for part in each]
            for each in (ours, theirs)
        )
        assert got == expected_, name
        if name.endswith("validated"):
            for one, other in zip(ours, theirs, strict=True):
                assert [m.value() for m in one] == [m.value() for m in other]
    # Where their number changes stores begin anew, and there is nothing to add.
    before = [table(tmp_path, name) for name in names]
    run("enforce", mine, tmp_path / "whole")
    assert all(table(tmp_path, n).equals(b) for n, b in zip(names, before, strict=True))


def test_rejects_are_explained_edited_and_sent_again(
    stack: Stack, ran: tuple[Path, Sent], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = ran
    # Of the registry that another test may have asked.
    dlq_streams.lookup.cache_clear()
    groups = {each["code"]: each for each in told(capsys, "summary --stream orders")}
    assert len(groups) == 10
    assert groups["schema_required"]["message"] == "the record: required currency"
    shown = told(capsys, f"show {groups['schema_required']['sample']}")
    assert shown["record"]["_schema_version"] == 2
    assert told(capsys, f"show {groups['malformed']['sample']}")["broken"]["at"] > 100

    by = "--stream orders --code schema_required"
    patch = '[{"op": "add", "path": "/currency", "value": "USD"}]'
    nothing = told(capsys, f"edit {by} --set \"currency = 'USD'\"")["outcomes"]
    assert [each["outcome"] for each in nothing] == [
        "is not of its schema, and has no columns to set: change it with --patch"
    ]
    done = told(capsys, f"edit {by} --patch '{patch}' --save --why 'the producer forgot it'")
    assert done["outcomes"] == [{"stream": "orders", "outcome": "silver", "count": 6}]
    by = "--stream readings --code value_range"
    done = told(capsys, f"edit {by} --set 'value=20.0' --save --why 'a loose cable'")
    assert done["outcomes"] == [{"stream": "readings", "outcome": "silver", "count": 15}]
    expected = {}
    for name, count in (("orders", 6), ("readings", 15)):
        before = sum(map(len, there(stack, f"{folder.name}.{name}.validated")))
        expected[name] = before + count
        told(capsys, f"replay --stream {name} --where \"state = 'edited'\" --send --why mended")
    ends = settings(stack, folder) | {"MILLSTREAM_STOP_AT_END": "true"}
    # As if the recovery store were lost: the tables and the topics tell what is there.
    run("enforce", ends, folder / "anew")
    for name, count in expected.items():
        assert sum(map(len, there(stack, f"{folder.name}.{name}.validated"))) == count
        assert table(folder, f"silver/{name}").height == count
    assert table(folder, "silver/orders").filter(currency="USD").height == 6
    assert {each["state"] for each in told(capsys, f"list {by}")} == {"replayed"}


def test_tools_know_the_flow_and_its_topics(
    stack: Stack, ran: tuple[Path, Sent], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, every = ran
    topic = f"{folder.name}.readings"

    status, (flow,) = asked(capsys, "lineage")
    assert (status, flow["flow"]) == (0, "enforce")
    assert f"{topic}.validated" in flow["sends"]
    columns = {each["table"]: each["columns"] for each in flow["tables"]}
    assert columns["silver/readings"]["value"]["of"] == [f"{topic}.value"]
    assert columns["silver/heartbeats"]["sensor"]["by"] == "repairs"

    status, found = asked(
        capsys, f"status enforce -r {folder / 'anew' / 'enforce'} --metrics 127.0.0.1:9"
    )
    (flow,) = found["flows"]
    assert (status, flow["state"], flow["watermark"]) == (0, "stopped", None)
    assert flow["lag"] == 0
    assert flow["dead_letters"]["all"] == 2 * SIZE // 20 + 30
    assert flow["dead_letters"]["codes"]["unknown_version"]["all"] == 6 + 15
    (problem,) = flow["problems"]
    assert problem["to_do"] == "see why, and tell who sends them: millstream dlq summary"

    status, found = asked(capsys, f"doctor enforce -r {folder / 'anew' / 'enforce'}")
    states = {each["name"]: (each["state"], each["said"]) for each in found["checks"]}
    assert status == 0, found["to_do"]
    assert "Redis" not in states
    for name in (f"topic {topic}.validated", "tables of enforce", "recovery store of enforce"):
        assert states[name][0] == "ok", states[name]

    status, found = asked(capsys, "verify")
    assert status == 0, found
    # Those that were edited were sent again.
    assert found["counts"]["events"] == sum(map(len, every.values())) + 6 + 15
    assert len(found["checks"]) == 5 + 5 + 3

    # One record once more, and one out of its place.
    message = there(stack, f"{topic}.validated")[1][3]
    producer = Producer({"bootstrap.servers": stack.bootstrap, "log_level": 0})
    producer.produce(f"{topic}.validated", b"another", None, 1, headers=headers_of(message))
    assert producer.flush(60) == 0
    (folder / "tables" / "silver" / "orders").rename(folder / "away")
    status, found = asked(capsys, "verify")
    (folder / "away").rename(folder / "tables" / "silver" / "orders")
    wrong = [each["name"] for each in found["checks"] if not each["ok"]]
    assert (status, wrong) == (
        1,
        [
            f"topic {topic}.validated has each record of silver/readings once, as it came",
            f"topic {topic}.validated has each partition's records in their order",
        ],
    )
