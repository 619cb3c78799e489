"""Watching: alert rules by promtool, and every dashboard's queries on a Prometheus that scrapes."""

import re
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from benchmarks.dashboards import draw
from benchmarks.dashboards.asked import DASHBOARDS, dashboard, filled, get
from benchmarks.dashboards.prometheus import RULES as FILE
from benchmarks.dashboards.prometheus import scraping
from ops import reference
from ops.local import Stack
from ops.simulate import Params, produce, simulate
from ops.topics import create_topic
from tests import topics
from tests.running import Flow, wait_until
from tests.servers.ports import lasting_port
from tests.tools import tool

ROOT = Path(__file__).parents[2]
WATCHING = ROOT / "k8s" / "watching"
RULES = yaml.safe_load(FILE.read_text())["groups"][0]["rules"]
OWN = {
    reference.exposed(each) + suffix
    for each in reference.every_metric()
    for suffix in ("", "_count", "_sum", "_bucket")
}


def queries() -> Iterator[tuple[str, str]]:
    """Give each dashboard's queries, with the name of the panel that asks."""
    for path in DASHBOARDS:
        for panel in dashboard(path)[1]:
            for expr, _ in panel.targets:
                yield f"{path.stem}: {panel.title}", expr


def test_a_tool_that_is_not_there_is_skipped_with_how_to_get_it_and_missed_in_ci(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"no promtool .*\.ci/tools FOLDER"):
        tool("promtool")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    with pytest.raises(pytest.fail.Exception, match="no promtool "):
        tool("promtool")
    steps = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    for job in ("test", "slow"):
        runs = [step.get("run", "") for step in steps[job]["steps"]]
        (tools,) = [place for place, run in enumerate(runs) if run.startswith(".ci/tools ")]
        assert tools < runs.index(f"make {job}")


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
    tool("prometheus")
    topic, port = tmp_path.name, lasting_port()
    create_topic(stack.bootstrap, topic, 2)
    made = simulate(Params(payments=4_000, customers=500, terminals=500, partitions=2))
    settings = topics.settings(stack, topic, tmp_path) | {
        "BYTEWAX_DATAFLOW_API_ENABLED": "1",
        "BYTEWAX_DATAFLOW_API_PORT": str(port),
        "BYTEWAX_DATAFLOW_API_CACHE_PATH": str(tmp_path),
    }
    flow = Flow("payments", settings, tmp_path)
    left = list(queries())
    try:
        with scraping(tmp_path, {"millstream-payments": port}, 1) as prometheus:

            def answered() -> bool:
                assert flow.process.poll() is None, flow.said()
                left[:] = [
                    each for each in left
                    if not get(prometheus, "query", query=filled(each[1]))["result"]
                ]  # fmt: skip
                return not left

            # What was there at the first scrape is no rate.
            read = "millstream_records_total"
            wait_until(lambda: get(prometheus, "query", query=read)["result"])
            produce(made, stack.bootstrap, topic)
            wait_until(answered)
            rules = get(prometheus, "rules")["groups"][0]["rules"]
            assert {rule["health"] for rule in rules} <= {"ok", "unknown"}
            assert len(rules) == len(RULES)
            draw(prometheus, time.time() - 20, time.time(), tmp_path / "pictures")
            for path in DASHBOARDS:
                drawn = (tmp_path / "pictures" / f"{path.stem}.svg").read_text()
                assert drawn.count('class="line ') > len(dashboard(path)[1]) / 2
    except AssertionError as error:
        raise AssertionError(f"no answer to {left}") from error
    finally:
        flow.kill()
