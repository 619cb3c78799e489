"""Every series is there from the start, so that a rate has a first value and a panel a line."""

import math
import socket
import time
from pathlib import Path

import pytest
from prometheus_client.metrics import MetricWrapperBase

from flows.ports import default_port
from ops import reference
from ops.local import Stack
from ops.topics import create_topic
from tests import topics
from tests.running import Flow, wait_until
from tests.scraped import scrape, scrape_all, served
from tests.servers.ports import lasting_port

PARTITIONS = 2
# What a flow has none of, as nothing of it is declared or set.
NONE_OF = {
    "contract_warnings": "no check of the contract warns",
    "contract_repairs": "the contract repairs nothing",
    "control_changes": "no control topic is set",
    "model_scores": "no model is set",
    "model_failures": "no model is set",
    "model_open": "no model is set",
}
WITHOUT_TABLES = {
    "dead_letters_open", "late", "windows", "open_windows", "fence_offset", "commit",
    "commit_failures", "table_committed", "table_newest", "rows", "fenced_rows",
}  # fmt: skip
# Which keys a process has is seen by its first epoch's end.
LATER = {"state_rows", "state_bytes"}
MAY_BE_NO_NUMBER = {"offset_lag_records", "fence_offset", "dead_letters_open"}
NOT_0 = {"info", "state"}


def short(metric: MetricWrapperBase) -> str:
    return str(metric._name).removeprefix("millstream_").removesuffix("_seconds")


def samples(port: int) -> dict[str, dict[tuple[str, ...], float]]:
    """Return the samples of each of our metrics, of one answer."""
    found = scrape_all(port)
    return {
        short(each): found.get(
            reference.exposed(each) + ("_count" if each._type == "histogram" else ""), {}
        )
        for each in reference.every_metric()
    }


def flow(name: str, stack: Stack, folder: Path, **settings: str) -> Flow:
    own = topics.settings(stack, folder.name, folder)
    for topic in (own["MILLSTREAM_TOPIC"], own["MILLSTREAM_CHARGEBACKS_TOPIC"]):
        create_topic(stack.bootstrap, topic, PARTITIONS)
    return Flow(name, own | settings, folder)


@pytest.mark.parametrize(
    ("name", "lacks"),
    [
        ("payments", set()),
        ("alerts", WITHOUT_TABLES),
        # No rules, and no windows.
        (
            "chargebacks",
            {
                "alerts",
                "decisions",
                "rules_paused",
                "rule_silent",
                "windows",
                "open_windows",
            },
        ),
    ],
)
def test_every_series_is_there_once_partitions_are_read_and_at_0(
    stack: Stack, tmp_path: Path, name: str, lacks: set[str]
) -> None:
    port = lasting_port()
    running = flow(name, stack, tmp_path, **served(port, tmp_path))
    reads = 2 * PARTITIONS if name == "chargebacks" else PARTITIONS
    lacks = lacks | NONE_OF.keys()
    try:
        # Nothing has come, so what is there has been made before anything happened.
        while len((first := samples(port))["next_offset"]) < reads:
            assert running.process.poll() is None, running.said()
            time.sleep(0.02)
        assert {each for each, found in first.items() if not found} - LATER == lacks
        for each, found in first.items():
            if each not in NOT_0 and "flow_watermark" not in each:
                fine = MAY_BE_NO_NUMBER if each in MAY_BE_NO_NUMBER else set()
                wrong = {
                    labels: value for labels, value in found.items()
                    if value and not (fine and math.isnan(value))
                }  # fmt: skip
                assert not wrong, each

        def all_there() -> bool:
            assert running.process.poll() is None, running.said()
            found = samples(port)
            return all(found[each] for each in LATER) and max(found["epoch"].values()) > 1

        wait_until(all_there)
        later = samples(port)
        # And none is added by an epoch without records.
        grown = {each for each, found in later.items() if found.keys() != first[each].keys()}
        assert grown <= LATER
    finally:
        running.kill()


def test_a_flow_that_is_told_no_port_has_its_own_or_names_a_free_one(
    stack: Stack, tmp_path: Path
) -> None:
    port = default_port("alerts")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken = probe.connect_ex(("127.0.0.1", port)) == 0
    settings = served(port, tmp_path)
    del settings["BYTEWAX_DATAFLOW_API_PORT"]
    running = flow("alerts", stack, tmp_path, **settings)
    try:
        if taken:
            # By whoever else runs here.
            assert running.wait() == 1
            assert f"no metrics on port {port}: " in running.said()
            assert " is free, or " in running.said()
        else:
            wait_until(lambda: scrape(port, "millstream_info") or running.process.poll())
            (labels,) = scrape(port, "millstream_info")
            assert labels[0] == "alerts", running.said()
    finally:
        running.kill()
