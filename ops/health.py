"""``millstream health``: what a process of a flow is at, as its metrics say it, for probes.

It imports nothing but the standard library: a probe runs it every few seconds.
"""

import argparse
import contextlib
import http.client
import json
import math
import os
import re
from dataclasses import dataclass, field
from typing import Any, Final

_PORT: Final = "BYTEWAX_DATAFLOW_API_PORT"
_PAYMENTS: Final = 3030
_SECONDS: Final = 5.0
_SAMPLE: Final = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_LABEL: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_WANTED: Final = {
    "millstream_state", "millstream_stall_ratio", "millstream_offset_lag_records",
    "millstream_paused",
}  # fmt: skip
_READY: Final = {"running", "lagging", "paused"}
_SAYS: Final = {
    "starting": "its state is being made, or no epoch has ended yet",
    "away": "nothing answers: it looks for its servers, or has ended",
    "busy": f"takes a connection, and gives no answer within {_SECONDS:.0f} s",
    "unknown": "what answers there tells no state",
}


@dataclass(frozen=True)
class Health:
    """A process: its `state`, and what there is to read, in all and by partition.

    `stalled` is how much of the time it has stood still after which it ends itself.
    """

    where: str
    state: str
    stalled: float = 0.0
    to_read: dict[str, int] = field(default_factory=dict)
    paused: list[str] = field(default_factory=list)

    @property
    def live(self) -> bool:
        """Whether it may be left alone: not one that should have ended itself, or is not there."""
        return self.state != "away" and self.stalled < 1

    @property
    def ready(self) -> bool:
        """Whether it has all that it needs, and is at work."""
        return self.state in _READY

    def __str__(self) -> str:
        """Return the line that says it."""
        if self.state == "stuck":
            return (
                f"stuck: no epoch has ended for {self.stalled:.0%} of MILLSTREAM_STALL_TIMEOUT, "
                "at the end of which it ends itself with its stacks in the log"
            )
        left = f"{sum(self.to_read.values()):,} to read"
        if self.state == "paused":
            return f"paused: {', '.join(self.paused)}, as most is refused; {left}"
        if self.state == "lagging":
            worst = max(self.to_read, key=lambda each: self.to_read[each])
            return f"lagging: {left}, {self.to_read[worst]:,} of {worst}"
        return f"{self.state}: {_SAYS.get(self.state, left)}"

    def to_json(self) -> dict[str, Any]:
        """Return it as values of JSON."""
        return {
            "state": self.state,
            "live": self.live,
            "ready": self.ready,
            "to_read": sum(self.to_read.values()),
            "partitions": self.to_read,
            "paused": self.paused,
            "stalled": self.stalled,
            "metrics": self.where,
        }


def add_parser(subparsers: Any) -> None:
    """Add the command ``health``; its `func` returns the exit code."""
    parser = subparsers.add_parser(
        "health",
        help="what a process of a flow is at, for probes",
        description="Say what the process is at whose metrics are served here: starting, running, "
        "lagging, paused or stuck. Ends with 1 only if it is not there, or has stood still for "
        "longer than it should have ended itself after; with --ready also while it starts, is "
        "stuck or gives no answer.",
    )
    parser.add_argument(
        "--metrics", metavar="HOST:PORT", type=_address,
        help=f"where its metrics are; unless said, 127.0.0.1 and {_PORT}, or payments' {_PAYMENTS}",
    )  # fmt: skip
    parser.add_argument("--ready", action="store_true", help="end with 1 if it is not ready")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(func=run)


def _address(text: str) -> str:
    if not re.fullmatch(r".+:\d{1,5}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no host and port such as localhost:3030")
    return text


def run(args: argparse.Namespace) -> int:
    """Say it."""
    found = look(args.metrics or f"127.0.0.1:{os.environ.get(_PORT) or _PAYMENTS}")
    print(json.dumps(found.to_json()) if args.json else found)
    return 0 if (found.ready if args.ready else found.live) else 1


def look(where: str) -> Health:
    """Ask the process that serves its metrics at host:port."""
    host, _, port = where.rpartition(":")
    try:
        # Not by way of a proxy that the environment may name.
        client = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=_SECONDS)
        with contextlib.closing(client):
            client.request("GET", "/metrics")
            text = client.getresponse().read().decode()
    except TimeoutError:
        return Health(where, "busy")
    except (OSError, http.client.HTTPException):
        return Health(where, "away")
    return read(where, text)


def read(where: str, text: str) -> Health:
    """Return what metrics say, in Prometheus' form."""
    state, stalled = "unknown", 0.0
    to_read: dict[str, int] = {}
    paused: list[str] = []
    for name, labels, number in _SAMPLE.findall(text):
        if name not in _WANTED:
            continue
        value, told = float(number), dict(_LABEL.findall(labels))
        place = f"{told.get('topic')}/{told.get('partition')}"
        if name == "millstream_stall_ratio":
            stalled = value
        elif name == "millstream_state" and value:
            state = told["state"]
        elif name == "millstream_offset_lag_records" and not math.isnan(value):
            to_read[place] = int(value)
        elif name == "millstream_paused" and value:
            paused.append(place)
    return Health(where, state, stalled, to_read, paused)
