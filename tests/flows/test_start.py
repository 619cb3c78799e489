"""Starting a flow as its users do: bad settings, nothing there, where it was stopped."""

import json
import re
import signal
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import pytest

from ops.local import Stack
from ops.simulate import Params, produce, simulate
from ops.topics import create_topic
from tests import topics
from tests.running import Flow
from tests.servers.ports import lasting_port

METRICS = (
    "records_total", "rejects_total", "duplicates_total", "late_total", "windows_total",
    "open_windows", "alerts_total", "watermark_lag_seconds", "offset_lag_records",
    "commit_seconds_count",
    "rows_total", "bytes_total", "watermark_seconds", "watermark_waits", "next_offset",
    "fence_offset", "epoch_end_seconds_count", "table_committed_seconds", "table_newest_seconds",
    "state_rows", "info",
)  # fmt: skip
AT_REST = (r"offset_lag_records{partition=\"0\",[^}]*} 0.0", "table_newest_seconds")


def test_all_bad_settings_are_named_at_once(tmp_path: Path) -> None:
    settings = {
        "MILLSTREAM_REDIS_URL": "http://nowhere",
        "MILLSTREAM_BATCH_SIZE": "many",
        "MILLSTREAM_ALERT_TOPIC": "a typing error",
    }
    flow = Flow("payments", settings, tmp_path)
    assert flow.wait() == 2
    assert "Traceback" not in flow.said()
    for name in (
        "KAFKA_BOOTSTRAP_SERVERS",
        "REDIS_URL",
        "DELTA_ROOT",
        "BATCH_SIZE",
        "ALERT_TOPIC",
    ):
        assert f"MILLSTREAM_{name}" in flow.said()


def test_features_that_cannot_be_used_are_named_with_their_files(tmp_path: Path) -> None:
    (tmp_path / "features").mkdir()
    for name in ("one", "two"):
        (tmp_path / "features" / f"{name}.yaml").write_text(f"name: {name}\nby: terminal_id\n")
    settings = {
        "MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS": "nowhere:9092",
        "MILLSTREAM_REDIS_URL": "redis://nowhere",
        "MILLSTREAM_DELTA_ROOT": str(tmp_path / "tables"),
        "MILLSTREAM_RULES": str(tmp_path),
    }
    flow = Flow("payments", settings, tmp_path / "state")
    assert flow.wait() == 2
    assert "Traceback" not in flow.said()
    for name in ("one", "two"):
        assert f"millstream: features/{name}.yaml: aggregate: Field required" in flow.said()


@pytest.mark.parametrize("away", ["kafka", "redis", "registry"])
def test_what_is_away_at_start_is_waited_for_and_then_named(
    away: str, stack: Stack, tmp_path: Path
) -> None:
    create_topic(stack.bootstrap, tmp_path.name, 1)
    settings = topics.settings(stack, tmp_path.name, tmp_path)
    nowhere = f"127.0.0.1:{lasting_port()}"
    if away == "kafka":
        settings["MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS"] = nowhere
        settings["MILLSTREAM_START_TIMEOUT"] = "1500ms"
    else:
        # Also the time that Kafka has, which is there.
        settings["MILLSTREAM_START_TIMEOUT"] = "6s"
        place = {"redis": "REDIS_URL", "registry": "SCHEMA_REGISTRY"}[away]
        scheme = {"redis": "redis", "registry": "http"}[away]
        settings[f"MILLSTREAM_{place}"] = f"{scheme}://{nowhere}"
    flow = Flow("payments", settings, tmp_path)
    assert flow.wait() == 1
    assert "Traceback" not in flow.said()
    assert "waiting for" in flow.said()
    named = "schema registry" if away == "registry" else f"{away} at"
    assert re.search(rf"millstream: {named} .*tried for", flow.said(), re.IGNORECASE)


def test_ctrl_c_stops_it_and_the_next_start_goes_on(stack: Stack, tmp_path: Path) -> None:
    """Also: the metrics are on Bytewax's endpoint."""
    topic, port = tmp_path.name, lasting_port()
    create_topic(stack.bootstrap, topic, 2)
    made = simulate(Params(payments=4_000, customers=500, terminals=500, partitions=2))
    produce(made, stack.bootstrap, topic)
    settings = topics.settings(stack, topic, tmp_path) | {
        "BYTEWAX_DATAFLOW_API_ENABLED": "1",
        "BYTEWAX_DATAFLOW_API_PORT": str(port),
        "BYTEWAX_DATAFLOW_API_CACHE_PATH": str(tmp_path),
        "MILLSTREAM_LOG_FORMAT": "json",
    }
    all_read = [
        rf'records_total{{partition="{partition}",[^}}]*}} {count}.0'
        for partition, count in made.records.group_by("partition").len().iter_rows()
    ]
    for names in ([*METRICS, *all_read], AT_REST):
        flow = Flow("payments", settings, tmp_path)
        page = _metrics(flow, port, names)
        assert flow.tell(signal.SIGINT) == 0, flow.said()
    # What answers Ctrl-C is for who has pressed it.
    logged = [line for line in flow.said().splitlines() if not line.startswith("Stopping when")]
    lines = [json.loads(line) for line in logged]
    assert {(line["flow"], line["process"]) for line in lines} == {("payments", 0)}
    assert any(line["message"].startswith(f"reads topic {topic}") for line in lines)
    # Nothing of what records say, good or refused.
    people = made.events["card_id"].unique().to_list() + made.events["payment_id"].to_list()
    said = flow.said()
    assert not any(value in said for value in people)
    # Before anything is read, all that can be told of is there, and is 0.
    for expected in (
        'rejects_total{code="bad_utf8",stage="decode"}',
        'rejects_total{code="amount_range",stage="contract"}',
        'rejects_total{code="rule_failed:velocity",stage="rule"}',
        'alerts_total{rule="velocity",status="live"}',
        'windows_total{step="terminal_minute"}',
        'late_total{step="card_sessions"}',
        'rows_total{table="gold/late"}',
        'commit_failures_total{table="silver/payments"}',
        'table_newest_seconds{table="silver/payments"}',
        'retries_total{service="kafka"}',
        'retries_total{service="redis"}',
        'decisions_total{by="rules",decision="block"}',
    ):
        assert f"\nmillstream_{expected} 0.0\n" in page, expected
    # What the first run had read is not read again.
    assert not re.search(r"^millstream_records_total\{.*\} [1-9]", page, re.MULTILINE)


def _metrics(flow: Flow, port: int, names: Sequence[str]) -> str:
    """Return the metrics page once all of these are in it, with a value."""
    page, end = "", time.monotonic() + 120
    while time.monotonic() < end:
        assert flow.process.poll() is None, flow.said()
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{port}/metrics", timeout=10
            ) as answer:
                page = answer.read().decode()
        except OSError:
            page = ""
        missing = [
            x
            for x in names
            if not re.search(rf"^millstream_{x}(?:[{{ ]|$)", page, re.MULTILINE)
        ]
        if not missing:
            return page
        time.sleep(0.1)
    flow.kill()
    raise AssertionError(f"{missing} are not in the metrics:\n{page[-3000:]}")
