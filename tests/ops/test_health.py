"""What ``millstream health`` makes of a process's metrics, of their absence, and of no answer."""

import contextlib
import http.server
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from rich.console import Console

from ops import cli, health
from ops.health import Health, look, read
from ops.status import scraped
from ops.status.flow_status import FlowStatus, Status
from ops.status.show import screen

RUNNING = """# TYPE millstream_state gauge
millstream_state{state="starting"} 0.0
millstream_state{state="running"} 1.0
millstream_stall_ratio 0.01
millstream_offset_lag_records{partition="0",topic="payments"} 7.0
millstream_offset_lag_records{partition="1",topic="payments"} NaN
millstream_paused{partition="0",topic="payments"} 0.0
"""
LAGGING = RUNNING.replace('"running"', '"lagging"').replace("7.0", "1.2e+06")
PAUSED = RUNNING.replace('"running"', '"paused"').replace(
    'd{partition="0",topic="payments"} 0.0', 'd{partition="0",topic="payments"} 1.0'
)
STUCK = RUNNING.replace('"running"', '"stuck"').replace("0.01", "0.62")
STARTING = RUNNING.replace('"running"} 1', '"running"} 0').replace('"} 0.0', '"} 1.0', 1)


@pytest.mark.parametrize(
    ("text", "state", "live", "ready", "line"),
    [
        (RUNNING, "running", True, True, "running: 7 to read"),
        (LAGGING, "lagging", True, True,
         "lagging: 1,200,000 to read, 1,200,000 of payments/0"),
        (PAUSED, "paused", True, True, "paused: payments/0, as most is refused; 7 to read"),
        (STARTING, "starting", True, False,
         "starting: its state is being made, or no epoch has ended yet"),
        (STUCK, "stuck", True, False,
         "stuck: no epoch has ended for 62% of MILLSTREAM_STALL_TIMEOUT, at the end of which it "
         "ends itself with its stacks in the log"),
        # What should have ended itself, and could not.
        (STUCK.replace("0.62", "1.02"), "stuck", False, False, "stuck: "),
        ("up 1\n", "unknown", True, False, "unknown: what answers there tells no state"),
    ],
)  # fmt: skip
def test_only_what_should_have_ended_itself_is_not_to_be_left_alone(
    text: str, state: str, live: bool, ready: bool, line: str
) -> None:
    found = read("here", text)
    assert (found.state, found.live, found.ready) == (state, live, ready)
    assert str(found).startswith(line)


@contextlib.contextmanager
def serving(text: str, flow: str = "") -> Iterator[str]:
    """Serve metrics, and what the flow is; give where."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write((flow if self.path == "/dataflow" else text).encode())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_who_is_away_is_told_from_who_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_SECONDS", 0.3)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{listening.getsockname()[1]}"
        assert look(where) == Health(where, "away")
        assert not look(where).live
        listening.listen()
        found = look(where)
    assert (found.state, found.live, found.ready) == ("busy", True, False)


def test_status_says_what_a_process_is_at() -> None:
    with serving(STUCK, '{"flow_id": "payments"}') as where:
        found = scraped.scrape(where)
    assert found is not None
    assert (found.flow, found.state) == ("payments", "stuck")
    flow = FlowStatus("payments", "running", "python …", health="lagging")
    console = Console(width=200)
    with console.capture() as captured:
        console.print(screen(Status(datetime.now(UTC), "kafka", None, [flow])))
    assert "payments  running (lagging)" in captured.get()


def ended(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        cli.main(["health", *arguments])
    return int(end.value.code or 0)


def test_the_command_says_it_and_ends_with_what_a_probe_asks(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A proxy of the environment has no say in it.
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with serving(STUCK) as where:
        assert ended("--metrics", where) == 0
        assert capsys.readouterr().out.startswith("stuck: ")
        assert ended("--metrics", where, "--ready") == 1
        monkeypatch.setenv("BYTEWAX_DATAFLOW_API_PORT", where.partition(":")[2])
        capsys.readouterr()
        assert ended("--json") == 0
        assert json.loads(capsys.readouterr().out) == {
            "state": "stuck", "live": True, "ready": False, "to_read": 7,
            "partitions": {"payments/0": 7}, "paused": [], "stalled": 0.62, "metrics": where,
        }  # fmt: skip
    assert ended("--metrics", "3030") == 2


def test_a_probe_imports_nothing_that_takes_a_while() -> None:
    code = "import sys, ops.cli; ops.cli.parser('health'); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    found = {each.partition(".")[0] for each in done.stdout.split()}
    assert not found & {"polars", "bytewax", "deltalake", "flows", "operators", "numpy"}
