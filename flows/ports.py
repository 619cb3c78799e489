"""Ports: where each flow serves its metrics unless it is told otherwise, each at one of its own."""

from typing import Final

PORTS: Final = {
    "payments": 3030,
    "alerts": 3040,
    "chargebacks": 3050,
    "clicks": 3060,
    "enforce": 3070,
    "customers": 3080,
    "terminals": 3090,
    "enriched": 3100,
}
"""That of each flow's first process; others of a cluster, and slices, have those behind it."""

_OTHERS: Final = max(PORTS.values()) + 10


def default_port(flow: str, number: int = 0) -> int:
    """Return the port of a flow's process, or slice, of a number."""
    return PORTS.get(flow, _OTHERS) + number
