"""Scraped: what a flow's own metrics say, where their port answers."""

import contextlib
import http.client
import json
from dataclasses import dataclass, field
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

_SECONDS: Final = 2.0
_HELD: Final = "millstream_watermark_held_seconds"
_PAUSED: Final = "millstream_paused"
_STATE: Final = "millstream_state"

Place = tuple[str, int]
"""A topic's partition."""


@dataclass(frozen=True)
class Scraped:
    """What the metrics at `where` say.

    Which state the process is in, if it tells one, for how many seconds the watermark waits for
    whom, and which partitions are paused.
    """

    flow: str
    where: str
    held: dict[Place, float] = field(default_factory=dict)
    paused: list[Place] = field(default_factory=list)
    state: str | None = None


def scrape(where: str) -> Scraped | None:
    """Return the metrics of the flow that serves them at host:port; None if none does."""
    host, _, port = where.rpartition(":")
    with contextlib.suppress(OSError, http.client.HTTPException, ValueError, KeyError):
        flow = json.loads(_get(host, int(port), "/dataflow"))["flow_id"]
        families = {
            family.name: family.samples
            for family in text_string_to_metric_families(_get(host, int(port), "/metrics"))
        }
        states = [each.labels["state"] for each in families.get(_STATE, ()) if each.value]
        found = Scraped(str(flow), where, state=states[0] if states else None)
        for name in (_HELD, _PAUSED):
            for sample in families.get(name, ()):
                place = sample.labels["topic"], int(sample.labels["partition"])
                if name == _HELD:
                    found.held[place] = sample.value
                elif sample.value:
                    found.paused.append(place)
        return found
    return None


def _get(host: str, port: int, path: str) -> str:
    client = http.client.HTTPConnection(host.strip("[]"), port, timeout=_SECONDS)
    with contextlib.closing(client):
        client.request("GET", path)
        return client.getresponse().read().decode()
