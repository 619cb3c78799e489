"""Lineage events and traces, as they come to whoever takes them."""

import gzip
import json
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from deltalake import DeltaTable
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from flows import settings as settings_
from flows import telemetry
from flows.telemetry.lineage_events import Sender, named
from operators.errors import KnownError
from ops.topics import create_topic
from tests.field.topic import Field, payments
from tests.flows import enforced
from tests.flows.changes import customers
from tests.flows.lineage_schema import problems
from tests.flows.test_changes import send
from tests.flows.test_lineage import SETTINGS
from tests.running import Flow


@contextmanager
def receiver(status: int = 200) -> Iterator[tuple[str, list[bytes]]]:
    """Take what is posted, for the length of a block: its address and the bodies."""
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            packed = self.headers.get("Content-Encoding") == "gzip"
            bodies.append(gzip.decompress(body) if packed else body)
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", bodies
        server.shutdown()


def test_each_commit_is_an_event_and_each_epoch_a_trace(stack, tmp_path, monkeypatch):
    field = Field(stack, stack.bootstrap, tmp_path / "told")
    field.folder.mkdir()
    field.create()
    field.send(*payments(0, 30))
    with receiver() as (lineage, events), receiver() as (traces, requests):
        monkeypatch.setenv("OPENLINEAGE_URL", lineage)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", traces)
        flow = field.flow(STOP_AT_END="true", CLOSE_WINDOWS_AT_END="true")
        assert flow.wait() == 0, flow.said()

    found = [json.loads(each) for each in events]
    assert [found[0]["eventType"], found[-1]["eventType"]] == ["START", "COMPLETE"]
    assert [line for each in found for line in problems(each)] == []
    assert problems(found[0] | {"eventType": "ENDED"})
    assert len({each["run"]["runId"] for each in found}) == 1
    # In the start event every table is there, with what each column is made of.
    outputs = {each["name"]: each for each in found[0]["outputs"]}
    silver = outputs[str(field.folder / "tables/silver/payments")]
    mean = silver["facets"]["columnLineage"]["fields"]["card_amount_minor_mean"]
    assert {each["field"] for each in mean["inputFields"]} == {"card_id", "amount_minor"}
    assert {each["namespace"] for each in mean["inputFields"]} == {f"kafka://{stack.bootstrap}"}
    commits = [each for each in found if each["eventType"] == "RUNNING"]
    counts: dict[str, int] = {}
    for each in commits:
        (output,) = each["outputs"]
        assert [one["name"] for one in each["inputs"]] == [field.topic]
        rows = output["outputFacets"]["outputStatistics"]["rowCount"]
        counts[output["name"]] = counts.get(output["name"], 0) + rows
    for uri, rows in counts.items():
        assert DeltaTable(uri).count() == rows
    assert counts[str(field.folder / "tables/silver/payments")] == 31

    spans = [
        span
        for body in requests
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    epochs = {span.span_id: span for span in spans if span.name == "epoch"}
    ends = {span.span_id: span for span in spans if span.name == "end of epoch"}
    assert {span.parent_span_id for span in ends.values()} == epochs.keys()
    committed = [span for span in spans if span.name.startswith("commit ")]
    assert committed
    assert {span.parent_span_id for span in committed} <= ends.keys()
    read = [a.value.int_value for s in epochs.values() for a in s.attributes
            if a.key == "millstream.records"]  # fmt: skip
    assert sum(read) == 31


def of_a_run(folder: Path, flow: Flow, events: list[bytes]) -> dict[str, int]:
    """Hold a run's events to their schema; return the rows that they tell of, by table."""
    assert flow.wait() == 0, flow.said()
    found = [json.loads(each) for each in events]
    assert [found[0]["eventType"], found[-1]["eventType"]] == ["START", "COMPLETE"]
    assert [line for each in found for line in problems(each)] == []
    assert problems(found[0] | {"eventType": "ENDED"})
    counts: dict[str, int] = {}
    for each in found[1:-1]:
        (output,) = each["outputs"]
        assert each["inputs"]
        assert output["name"] in {one["name"] for one in found[0]["outputs"]}
        name = output["name"].removeprefix(f"{folder}/tables/")
        rows = output["outputFacets"]["outputStatistics"]["rowCount"]
        counts[name] = counts.get(name, 0) + rows
    return counts


def test_another_flow_tells_of_its_commits(stack, tmp_path, monkeypatch):
    field = Field(stack, stack.bootstrap, tmp_path)
    topic = field.settings["MILLSTREAM_CUSTOMERS_TOPIC"]
    create_topic(stack.bootstrap, topic, 1)
    send(stack, topic, customers(50, random.Random(1)))
    with receiver() as (lineage, events):
        monkeypatch.setenv("OPENLINEAGE_URL", lineage)
        counts = of_a_run(tmp_path, field.flow("customers", STOP_AT_END="true"), events)
    silver = field.table("silver/customers").height
    assert (counts["silver/customers"], counts["bronze/customers"]) == (silver, silver)
    assert counts["gold/customers"] > 0


def test_so_does_the_one_that_enforces(stack, tmp_path, monkeypatch):
    every = enforced.records(60)
    for name in every:
        create_topic(stack.bootstrap, f"{tmp_path.name}.{name}", enforced.PARTITIONS)
    enforced.send(stack, tmp_path.name, every)
    given = enforced.settings(stack, tmp_path) | {"MILLSTREAM_STOP_AT_END": "true"}
    with receiver() as (lineage, events):
        monkeypatch.setenv("OPENLINEAGE_URL", lineage)
        counts = of_a_run(tmp_path, Flow("enforce", given, tmp_path), events)
    assert counts["silver/orders"] == enforced.table(tmp_path, "silver/orders").height > 0
    assert counts["quarantine/orders"] > 0


def test_what_takes_no_events_holds_nobody_up_and_is_said_once(caplog):
    def fails(_: object) -> None:
        raise OSError("away")

    sender = Sender(fails)
    for _ in range(3):
        sender.put(object())
    sender.end(object())
    assert [each.getMessage() for each in caplog.records] == [
        "lineage events cannot be sent (OSError); the flow goes on without"
    ]


def test_tables_are_named_as_openlineage_has_it(tmp_path):
    assert named(f"{tmp_path}/silver/payments") == ("file", f"{tmp_path}/silver/payments")
    assert named("s3://lake/bank/gold/alerts") == ("s3://lake", "bank/gold/alerts")


def test_without_its_package_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setattr(telemetry, "find_spec", lambda _: None)
    settings = settings_.load(SETTINGS)
    telemetry.begin("payments", settings)  # nothing is asked for
    for name in ("OPENLINEAGE_URL", "OTEL_EXPORTER_OTLP_ENDPOINT"):
        with monkeypatch.context() as context:
            context.setenv(name, "http://127.0.0.1:9")
            with pytest.raises(KnownError, match=r"pip install 'millstream\[telemetry\]'"):
                telemetry.begin("payments", settings)
