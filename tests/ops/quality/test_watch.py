"""Rates of rules as Prometheus scrapes them, while labels come in."""

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from ops.quality.cli import Rates
from ops.quality.count import genuine_since
from tests.ops.quality.test_quality import NOON, World
from tests.pages import PAGES
from tests.running import environment, wait_until
from tests.scraped import scrape
from tests.servers.ports import lasting_port


def test_who_scrapes_sees_the_rates_and_what_labels_make_of_them(tmp_path: Path) -> None:
    root, world, port = str(tmp_path), World(tmp_path), lasting_port()
    world.pay(40)
    settings = {
        "MILLSTREAM_DELTA_ROOT": root,
        "MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS": "nowhere:1",
        "MILLSTREAM_REDIS_URL": "redis://nowhere:1",
    }
    command = [sys.executable, "-m", "ops.cli", "rules", "quality", "--watch", "1s"]
    command += ["--metrics-port", str(port)]
    with (tmp_path / "log").open("w") as log:
        watching = subprocess.Popen(command, env=environment(settings), stdout=log, stderr=log)
    try:

        def rates(name: str) -> dict[tuple[str, ...], float]:
            assert watching.poll() is None, (tmp_path / "log").read_text()
            return scrape(port, f"millstream_{name}")

        def hits(name: str) -> dict[tuple[str, ...], int]:
            """Return the sums of all days."""
            found: dict[tuple[str, ...], int] = {}
            for (rule, version, _), counts in world.counted().items():
                key = rule, str(version)
                found[key] = found.get(key, 0) + counts[name]
            return found

        wait_until(lambda: rates("rule_open_hits") == hits("hits"))
        # Nothing is known yet, and so there is no rate.
        assert rates("rule_fraud_rate") == {} == rates("rule_false_positive_rate")
        world.label(60)
        wait_until(lambda: rates("rule_open_hits") == hits("open"))
        wait_until(lambda: rates("rule_fraud_rate") != {})
        confirmed, false = hits("confirmed"), hits("false_hits")
        assert rates("rule_fraud_rate") == {
            key: pytest.approx(confirmed[key] / (confirmed[key] + false[key]))
            for key in confirmed
        }
        genuine = genuine_since(root, NOON.date() - timedelta(days=1))
        assert rates("rule_false_positive_rate") == {
            key: pytest.approx(each / genuine) for key, each in false.items()
        }
        assert rates("labels_of_unknown_payments") == {(): 0.0}
    finally:
        watching.terminate()
        watching.wait(30)
    assert (tmp_path / "log").read_text() == ""


def test_the_page_names_each_of_them() -> None:
    text = PAGES["docs/scoring.md"]
    for family in Rates().registry.collect():
        assert f"`{family.name}`" in text, family.name
