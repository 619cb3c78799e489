"""What a flow's metrics say, as whoever scrapes them reads it."""

import urllib.request
from collections import defaultdict
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
    return scrape_all(port).get(name, {})


def scrape_all(port: int) -> dict[str, dict[tuple[str, ...], float]]:
    """Return the samples of every metric, at one time, by its name; else as `scrape`."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
    except OSError:
        return {}
    found: dict[str, dict[tuple[str, ...], float]] = defaultdict(dict)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = tuple(value for _, value in sorted(sample.labels.items()))
            found[sample.name][labels] = sample.value
    return found
