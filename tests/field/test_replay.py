"""Rejects that are good by now, sent again: each once, whatever kills the sender."""

import io
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import fastavro
import polars as pl
import pytest

import schemas
from flows import settings as settings_
from flows.settings import PREFIX, kafka_settings
from operators.connectors.kafka.client import headers_of, read_to_end
from ops import cli
from ops.dlq import streams as dlq_streams
from ops.dlq.headers import ORIGIN_HEADER, REPLAY_HEADER
from ops.dlq.quarantine import QuarantineError
from ops.dlq.sending import Sender
from ops.local import Stack
from ops.query import query
from ops.verify import verify
from tests.field.topic import Field, payment
from tests.ops.reports import broken
from tests.running import environment
from tests.servers.secured import Right, SecuredKafka

# Ends the process behind the nth call of a function, with chunks of a few records.
KILLED = """
import os, signal, sys
from pkgutil import resolve_name
import flows
from ops import cli
from ops.dlq import sending

where, name, nth = sys.argv[1].rpartition(".")[0], sys.argv[1].rpartition(".")[2], int(sys.argv[2])
sending._CHUNK = 7
owner, calls = resolve_name(where), 0
original = getattr(owner, name)

def wrapped(*args, **kwargs):
    global calls
    result = original(*args, **kwargs)
    calls += 1
    if calls == nth:
        if name == "_produce":
            args[0]._producer.flush(10)
        os.kill(os.getpid(), signal.SIGKILL)
    return result

setattr(owner, name, wrapped)
cli.main(sys.argv[3:])
"""
LONG_AGO = datetime(2020, 3, 1, 12, tzinfo=UTC)
_NEWER = schemas.latest("payment")


def newer(number: int, **fields: Any) -> bytes:
    """Return a payment as its next schema has it, which nobody here knows yet."""
    framed = schemas.local_id("payment", 3).to_bytes(4, "big")
    known = fastavro.schemaless_reader(io.BytesIO(payment(number, **fields)[5:]), _NEWER)
    out = io.BytesIO(b"\0" + framed)
    out.seek(5)
    fastavro.schemaless_writer(out, next_schema(), known | {"note": "new"})
    return out.getvalue()


def next_schema() -> dict[str, Any]:
    note = {"name": "note", "type": "string", "default": ""}
    return {**_NEWER, "fields": [*_NEWER["fields"], note]}


def know(field: Field) -> Path:
    """Return the folder of the schemas that the flow knows."""
    folder = field.folder / "schemas"
    for version in schemas.versions("payment"):
        path = folder / "payment" / f"{version}.avsc"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(schemas.load("payment", version)))
    field.settings[f"{PREFIX}SCHEMA_REGISTRY"] = str(folder)
    return folder


@pytest.fixture
def known(field: Field) -> Path:
    """Give that folder."""
    return know(field)


def run(field: Field) -> None:
    flow = field.flow(STOP_AT_END="true")
    assert flow.wait() == 0, flow.said()


def killed(field: Field, point: tuple[str, int], *arguments: str) -> None:
    """Run a command of the tool in a process that is killed there."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, point[0], str(point[1]), "dlq", *arguments],
        env=environment(field.settings), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == -9, done.stdout + done.stderr


def sent(field: Field) -> list[str]:
    """Return the origins of what was sent again and can be read."""
    config = {"bootstrap.servers": field.bootstrap}
    headers = map(headers_of, read_to_end(config, field.topic, {0: 0, 1: 0}))
    return [each[ORIGIN_HEADER].decode() for each in headers if ORIGIN_HEADER in each]


def test_what_is_good_by_now_is_in_silver_once_whatever_kills_the_replay(
    field: Field, known: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    def told(*arguments: str) -> Any:
        with pytest.raises(SystemExit) as ended:
            cli.main(["dlq", *arguments, "--json"])
        assert ended.value.code == 0
        return json.loads(capsys.readouterr().out)

    for name, value in field.settings.items():
        monkeypatch.setenv(name, value)
    field.create(2)
    for partition in (0, 1):
        numbers = range(100 * partition, 100 * partition + 10)
        field.send(*(newer(n) for n in numbers), partition=partition)
        field.send(*(payment(n + 50) for n in numbers), partition=partition)
    bad = newer(80, currency="eur")
    field.send(bad, b"never", payment(3), payment(4), partition=1)
    run(field)
    assert field.table("quarantine/payments")["code"].value_counts().sort("code").rows() == [
        ("bad_magic", 1), ("unknown_schema", 21)
    ]  # fmt: skip
    unknown = {"stream": "payments", "outcome": "refused: decode unknown_schema", "count": 21}
    assert told("replay")["outcomes"][0] == unknown
    assert not (field.folder / "tables" / "ops").exists(), "a plan writes nothing"

    (known / "payment" / "3.avsc").write_text(json.dumps(next_schema()))
    dlq_streams.lookup.cache_clear()
    planned = told("replay")["outcomes"]
    assert [(each["outcome"], each["count"]) for each in planned] == [
        ("silver", 18), ("duplicate", 2), ("refused: contract currency_format", 1),
        ("refused: decode bad_magic", 1),
    ]  # fmt: skip
    sandbox = field.folder / "sandbox"
    live = {name: field.table(name) for name in ("silver/payments", "quarantine/payments")}
    made = told("replay", "--sandbox", str(sandbox))["sandbox"]
    assert {name: made[name] for name in (*live, "silver/duplicates", "bronze/payments")} == {
        "silver/payments": 18, "quarantine/payments": 0, "silver/duplicates": 0,
        "bronze/payments": 18,
    }  # fmt: skip
    assert made["gold/card_sessions"] > 0
    tried = field.table("silver/payments", "sandbox")
    assert set(tried["_rest"]) == {'{"note":"new"}'}
    places = tried.select("source_partition", "source_offset")
    assert places.join(live["quarantine/payments"], on=places.columns, how="anti").is_empty()
    for name, rows in live.items():
        assert field.table(name).equals(rows)
    assert not (field.folder / "tables" / "ops").exists(), "nor does a sandbox"
    assert sent(field) == []
    for folder in (sandbox, field.folder / "tables"):
        with pytest.raises(SystemExit) as ended:
            cli.main(["dlq", "replay", "--sandbox", str(folder)])
        assert ended.value.code == 1
        assert "already: name an empty folder" in capsys.readouterr().err
    kills = [
        ("ops.dlq.sending.Sender._produce", 3),
        ("ops.dlq.sending.Sender._transact", 1),
        ("ops.dlq.sending.Sender.send", 1),
    ]
    expected = [0, 7, 18]
    for point, count in zip(kills, expected, strict=True):
        killed(field, point, "replay", "--send", "--why", "a schema was late")
        assert len(sent(field)) == count, point
        (name,) = told("replay")["unfinished"]
    last = told("replay", "--send")
    assert last["finished"] == [{"replay": name, "sent": 18, "claimed": 18}]
    origins = sent(field)
    assert len(origins) == len({*origins}) == 18
    assert told("replay", "--send")["finished"] == []
    sql = "SELECT count(DISTINCT replay) AS n FROM ops_audit JOIN ops_replays USING (replay)"
    assert query(str(field.folder / "tables"), sql)["n"].to_list() == [1]
    audit = field.table("ops/audit").select("action", "replay", "records", "why")
    assert audit.sort("action").rows() == [
        ("replay", name, 18, "a schema was late"), ("replayed", name, 18, None)
    ]  # fmt: skip

    # The producer mends one by itself; which of the two comes first is anybody's guess.
    field.send(payment(7), partition=1)
    run(field)
    ids = field.table("silver/payments")["payment_id"]
    numbers = [*range(10), *range(50, 60), *range(100, 110), *range(150, 160)]
    assert sorted(ids) == sorted(f"payment-{n}" for n in numbers)
    assert field.table("silver/duplicates")["payment_id"].to_list() == ["payment-7"]
    first = pl.col("source_offset") < pl.when(source_partition=0).then(20).otherwise(24)
    again = field.table("silver/payments").filter(~first)
    assert again.height == 18
    quarantine = field.table("quarantine/payments")
    assert quarantine.height == 22
    assert broken(verify(settings_.load(field.settings))) == []

    (line,) = (each for each in told("summary") if each["code"] == "unknown_schema")
    assert (line["count"], line["open"]) == (21, 3)
    lines = told("list", "--limit", "99")
    assert {each["replay"] for each in lines} == {name, None}
    became = [each["became"] for each in lines if each["sent_as"]]
    assert len(became) == 18
    assert {*became} <= {"silver", "duplicate"}
    assert {each["became"] for each in lines if not each["replay"]} == {None}
    assert len(told("list", "--limit", "99", "--open")) == 4
    left = [(each["outcome"], each["count"]) for each in told("replay")["outcomes"]]
    assert left[:2] == [("replayed before", 18), ("duplicate", 2)]
    assert told("replay", "--open", "--limit", "1")["outcomes"][0]["outcome"] == "duplicate"


def test_who_takes_over_undoes_what_the_one_before_has_not_committed(field: Field) -> None:
    field.create(2)
    config = {"bootstrap.servers": field.bootstrap}
    row = pl.DataFrame(
        {
            "source_topic": field.topic, "source_partition": 1, "source_offset": 5,
            "kafka_timestamp": LONG_AGO + timedelta(microseconds=999), "attempts": 2, "key": b"k",
            "value": b"v", "headers": [[{"key": "own", "value": b"1"}]],
        }
    )  # fmt: skip
    first = Sender(config, field.topic)
    first._producer.begin_transaction()
    first._produce("one", row.row(0, named=True))
    first._producer.flush(10)
    second = Sender(config, field.topic)
    behind = {(field.topic, 0): 0, (field.topic, 1): 0}
    assert second.already("one", behind) == {}
    with pytest.raises(QuarantineError, match="run replay --send again"):
        first._try(lambda: first._producer.commit_transaction(10))
    assert second.send("one", iter([row]), lambda _: None) == 1
    assert second.already("one", behind) == second.sent
    assert second.already("other", behind) == {}
    (message,) = read_to_end(config, field.topic, {0: 0, 1: 0})
    assert second.sent == {(field.topic, 1, 5): (field.topic, 1, message.offset())}
    assert (message.key(), message.value()) == (b"k", b"v")
    assert message.timestamp()[1] > LONG_AGO.timestamp() * 1000 + 1, (
        "no retention takes it for old"
    )
    assert headers_of(message) == {
        "own": b"1", "millstream.attempts": b"2", ORIGIN_HEADER: f"{field.topic}/1/5".encode(),
        REPLAY_HEADER: b"one", "millstream.timestamp": b"2020-03-01T12:00:00.000999+00:00",
    }  # fmt: skip


def test_who_may_not_send_is_told_what_to_grant(
    stack: Stack, secured: SecuredKafka, tmp_path: Path
) -> None:
    field = Field(stack, secured.bootstrap, tmp_path)
    config = kafka_settings(secured.settings)
    field.create(1)
    rights: set[Right] = set()
    secured.allow(rights)
    row = pl.DataFrame(
        {
            "source_topic": field.topic, "source_partition": 0, "source_offset": 5,
            "kafka_timestamp": None, "attempts": None, "key": None, "value": b"v",
            "headers": None,
        }
    )  # fmt: skip
    try:
        for missing in (
            ("WRITE", "TRANSACTIONAL_ID", f"millstream-replay-{field.topic}"),
            ("WRITE", "TOPIC", field.topic),
        ):
            with pytest.raises(QuarantineError) as told:
                Sender(config, field.topic).send("one", iter([row]), lambda _: None)
            kind = missing[1].lower().replace("_", " ")
            assert f"may not WRITE {kind} '{missing[2]}': grant it " in str(told.value)
            rights.add(missing)
            secured.allow(rights)
        assert Sender(config, field.topic).send("one", iter([row]), lambda _: None) == 1
    finally:
        secured.allow([])
