"""Starting and stopping the flow as its users do: bad settings, nothing there, signals."""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from ops.local import Stack
from ops.processes import free_port
from ops.simulate import Params, produce, simulate
from ops.topics import create_topic

COMMAND = [sys.executable, "-m", "bytewax.run", "flows.payments"]


def _environ(**settings: str) -> dict[str, str]:
    kept = {
        k: v for k, v in os.environ.items() if not k.startswith(("MILLSTREAM_", "BYTEWAX_"))
    }
    return kept | settings


def _run(work: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        COMMAND, env=_environ(**settings), cwd=work, capture_output=True, text=True, timeout=90
    )


def test_all_bad_settings_are_named_at_once(tmp_path: Path) -> None:
    result = _run(
        tmp_path,
        MILLSTREAM_REDIS_URL="http://nowhere",
        MILLSTREAM_BATCH_SIZE="many",
        MILLSTREAM_ALERT_TOPIC="a typing error",
    )
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    for name in (
        "KAFKA_BOOTSTRAP_SERVERS",
        "REDIS_URL",
        "DELTA_ROOT",
        "BATCH_SIZE",
        "ALERT_TOPIC",
    ):
        assert f"MILLSTREAM_{name}" in result.stderr


@pytest.mark.parametrize("away", ["kafka", "redis"])
def test_what_is_away_at_start_is_waited_for_and_then_named(
    away: str, stack: Stack, tmp_path: Path
) -> None:
    topic = f"start-{away}"
    create_topic(stack.bootstrap, topic, 1)
    settings = stack.env() | {
        "MILLSTREAM_TOPIC": topic,
        "MILLSTREAM_DELTA_ROOT": str(tmp_path / "tables"),
        "MILLSTREAM_START_TIMEOUT": "1500ms",
    }
    nowhere = f"127.0.0.1:{free_port()}"
    if away == "kafka":
        settings["MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS"] = nowhere
    else:
        settings["MILLSTREAM_REDIS_URL"] = f"redis://{nowhere}"
    began = time.monotonic()
    result = _run(tmp_path, **settings)
    assert result.returncode == 1
    assert time.monotonic() - began > 1
    assert "Traceback" not in result.stderr
    assert "waiting for" in result.stderr
    assert re.search(rf"millstream: {away} at .*tried for", result.stderr, re.IGNORECASE)


def test_ctrl_c_stops_at_an_epochs_end_and_the_next_start_goes_on(
    stack: Stack, tmp_path: Path
) -> None:
    """Also: the metrics are on Bytewax's endpoint."""
    topic = "start-and-stop"
    create_topic(stack.bootstrap, topic, 2)
    made = simulate(Params(payments=4_000, customers=500, terminals=500, partitions=2))
    produce(made, stack.bootstrap, topic)
    port = free_port()
    settings = stack.env() | {
        "MILLSTREAM_TOPIC": topic,
        "MILLSTREAM_ALERTS_TOPIC": f"{topic}.alerts",
        "MILLSTREAM_DLQ_TOPIC": f"{topic}.dlq",
        "MILLSTREAM_DELTA_ROOT": str(tmp_path / "tables"),
        "BYTEWAX_SNAPSHOT_INTERVAL": "1",
        "BYTEWAX_DATAFLOW_API_ENABLED": "1",
        "BYTEWAX_DATAFLOW_API_PORT": str(port),
        "BYTEWAX_DATAFLOW_API_CACHE_PATH": str(tmp_path),
    }
    command = [*COMMAND, "-r", str(tmp_path / "state")]
    for go in range(2):
        process = subprocess.Popen(
            command, env=_environ(**settings), cwd=tmp_path, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        try:
            known = "rows_total" if go == 0 else "offset_lag_records"
            page = _metrics(process, port, rf"millstream_{known}\{{")
            process.send_signal(signal.SIGINT)
            output, _ = process.communicate(timeout=20)
        finally:
            if process.poll() is None:
                process.kill()
                process.communicate()
        assert process.returncode == 0, output
        assert "Stopping at the end of this epoch" in output
        if go == 0:
            _all_metrics_are_there(page)
        else:
            # What the first run had read is not read again.
            assert "millstream_records_total{" not in page or not re.search(
                r"^millstream_records_total\{.*\} [1-9]", page, re.MULTILINE
            )


def _metrics(process: subprocess.Popen[str], port: int, until: str) -> str:
    """Return the metrics page once `until` is found in it."""
    page, end = "", time.monotonic() + 40
    while time.monotonic() < end:
        assert process.poll() is None, process.communicate()[0]
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{port}/metrics", timeout=10
            ) as answer:
                page = answer.read().decode()
        except OSError:
            page = ""
        if re.search(until, page):
            return page
        time.sleep(0.1)
    raise AssertionError(f"{until} is not in the metrics:\n{page[-3000:]}")


def _all_metrics_are_there(page: str) -> None:
    for name in (
        "records_total", "rejects_total", "duplicates_total", "late_total", "windows_total",
        "alerts_total", "watermark_lag_seconds", "offset_lag_records", "commit_seconds_count",
    ):  # fmt: skip
        assert re.search(rf"^millstream_{name}", page, re.MULTILINE), name
