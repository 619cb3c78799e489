"""Watching: alert rules by promtool, and every dashboard's queries on a Prometheus that scrapes."""

import json
import re
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ops import reference
from ops.local import Stack
from ops.simulate import Params, produce, simulate
from ops.topics import create_topic
from tests import topics
from tests.running import Flow, wait_until
from tests.servers.ports import lasting_port

ROOT = Path(__file__).parents[2]
WATCHING = ROOT / "k8s" / "watching"
RULES = yaml.safe_load((WATCHING / "rules.yaml").read_text())["groups"][0]["rules"]
DASHBOARDS = sorted((WATCHING / "dashboards").glob("*.json"))
OWN = {
    reference.exposed(each) + suffix
    for each in reference.every_metric()
    for suffix in ("", "_count", "_sum", "_bucket")
}


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"no {name} on the PATH: Debian's package prometheus has it")
    return found


def queries() -> Iterator[tuple[str, str]]:
    """Give each dashboard's queries, with the name of the panel that asks."""
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                yield f"{path.stem}: {panel['title']}", target["expr"]


def test_alerts_come_where_they_should_and_not_elsewhere() -> None:
    done = subprocess.run(
        [tool("promtool"), "test", "rules", "rules_test.yaml"],
        cwd=WATCHING, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_has_a_case_where_it_comes_and_one_where_it_does_not() -> None:
    cases: dict[str, set[bool]] = defaultdict(set)
    for test in yaml.safe_load((WATCHING / "rules_test.yaml").read_text())["tests"]:
        for case in test["alert_rule_test"]:
            cases[case["alertname"]].add(bool(case["exp_alerts"]))
    assert cases == {rule["alert"]: {True, False} for rule in RULES}


def test_each_alert_has_its_page_in_the_runbook_and_each_page_its_alert() -> None:
    pages = re.findall(r"^## (\w+)$", (ROOT / "docs" / "runbook.md").read_text(), re.MULTILINE)
    assert pages == [rule["alert"] for rule in RULES]
    for rule in RULES:
        assert rule["annotations"]["runbook"] == f"docs/runbook.md#{rule['alert'].lower()}"


def test_rules_and_dashboards_ask_for_metrics_that_there_are() -> None:
    asked = [rule["expr"] for rule in RULES] + [expr for _, expr in queries()]
    named = {name for expr in asked for name in re.findall(r"millstream_\w+", expr)}
    assert named <= OWN
    assert len(named) > 25


def test_every_query_of_the_dashboards_has_an_answer(stack: Stack, tmp_path: Path) -> None:
    prometheus = tool("prometheus")
    topic, port, own = tmp_path.name, lasting_port(), lasting_port()
    create_topic(stack.bootstrap, topic, 2)
    made = simulate(Params(payments=4_000, customers=500, terminals=500, partitions=2))
    produce(made, stack.bootstrap, topic)
    scraped = {
        "job_name": "millstream-payments",
        "static_configs": [{"targets": [f"127.0.0.1:{port}"]}],
    }
    config = tmp_path / "prometheus.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                "rule_files": [str(WATCHING / "rules.yaml")],
                "scrape_configs": [scraped],
            }
        )
    )
    settings = topics.settings(stack, topic, tmp_path) | {
        "BYTEWAX_DATAFLOW_API_ENABLED": "1",
        "BYTEWAX_DATAFLOW_API_PORT": str(port),
        "BYTEWAX_DATAFLOW_API_CACHE_PATH": str(tmp_path),
    }
    command = [prometheus, f"--config.file={config}", f"--storage.tsdb.path={tmp_path}/tsdb",
               f"--web.listen-address=127.0.0.1:{own}", "--log.level=warn"]  # fmt: skip
    flow = Flow("payments", settings, tmp_path)
    with (tmp_path / "prometheus.log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        left = list(queries())

        def answered() -> bool:
            assert flow.process.poll() is None, flow.said()
            assert server.poll() is None, (tmp_path / "prometheus.log").read_text()
            left[:] = [each for each in left if not ask(own, each[1])]
            return not left

        wait_until(answered)
        rules = get(own, "rules")["groups"][0]["rules"]
        assert {rule["health"] for rule in rules} <= {"ok", "unknown"}
        assert len(rules) == len(RULES)
    except AssertionError as error:
        raise AssertionError(f"no answer to {left}") from error
    finally:
        server.kill()
        server.wait()
        flow.kill()


def ask(port: int, expr: str) -> list[Any]:
    """Return what Prometheus answers a panel's query for the flow."""
    filled = expr.replace("$job", ".*").replace("$__rate_interval", "1m")
    try:
        return get(port, "query", query=filled)["result"]
    except ConnectionError:
        return []


def get(port: int, what: str, **parameters: str) -> dict[str, Any]:
    """Ask Prometheus; raises ConnectionError while it is not up, and fails if it refuses."""
    url = f"http://127.0.0.1:{port}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]
    except urllib.error.HTTPError as error:
        if error.code != 503:
            pytest.fail(f"{parameters}: {error.read().decode()}")
        raise ConnectionError from error
    except urllib.error.URLError as error:
        raise ConnectionError from error
