"""What a flow's metrics say, as whoever scrapes them reads it."""

import urllib.request
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families


def served(port: int, folder: Path) -> dict[str, str]:
    """Return the settings with which a process serves its metrics at a port."""
    return {
        "BYTEWAX_DATAFLOW_API_ENABLED": "1",
        "BYTEWAX_DATAFLOW_API_PORT": str(port),
        "BYTEWAX_DATAFLOW_API_CACHE_PATH": str(folder),
    }


def scrape(port: int, name: str) -> dict[tuple[str, ...], float]:
    """Return a metric's samples by the values of its labels, in the order of their names.

    None where nobody answers.
    """
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
    except OSError:
        return {}
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    }
