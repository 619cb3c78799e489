"""Enforced topics on Kubernetes: the flow without Redis, and maintenance that sees its tables."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from confluent_kafka import Producer
from deltalake import DeltaTable

from flows.enforced.loading import enforced_tables
from flows.enforced.loading import load as enforce_load
from flows.streams import upkeep_of
from ops.local import Stack
from ops.topics import create_topic
from tests.k8s.built import (
    OVERLAYS,
    ROOT,
    built,
    containers,
    enforced,
    environment,
    mounted,
    pods,
)
from tests.k8s.pod import Pod
from tests.running import wait_until

PRODUCTION = OVERLAYS[1]
FOLDER = "MILLSTREAM_ENFORCE_FOLDER"
TOPIC = "shop.orders"


def order(number: int) -> bytes:
    amount = -1 if number % 3 == 0 else number
    made = {"order_id": f"o{number}", "ordered_at": "2026-01-01T00:00:00Z", "amount": amount}
    return json.dumps(made).encode()


@pytest.mark.parametrize(
    ("folder", "name"),
    [("flows/enforce", "millstream-enforce"), (PRODUCTION, "millstream-enforce")],
)
def test_the_flow_has_its_topics_files_where_it_looks_and_needs_no_redis(
    folder: str, name: str, tmp_path: Path
) -> None:
    template = pods(folder)[name]
    (flow,) = containers(template)
    assert flow["args"] == ["flows.enforce"]
    (mount,) = [m for m in flow["volumeMounts"] if m["name"] == "enforced"]
    environ = environment(folder, flow)
    assert environ[FOLDER] == mount["mountPath"]
    files = enforced(folder, template, tmp_path / "topics")
    told = mounted(template, flow, environ, tmp_path / "secret")
    (tmp_path / "secret" / "redis-url").unlink()
    loaded = enforce_load(told | {FOLDER: str(files)})
    assert [each.topic for each in loaded.topics] == [TOPIC]
    assert loaded.settings.kafka["sasl.password"] == "change-me"


def test_maintenance_sees_the_tables_of_enforced_topics(tmp_path: Path) -> None:
    template = pods(PRODUCTION)["millstream-tables"]
    (volume,) = [v for v in template["spec"]["volumes"] if v["name"] == "enforced"]
    flow = built(PRODUCTION)["StatefulSet", "millstream-enforce"]["spec"]["template"]["spec"]
    # The flow's own files, so that no table is forgotten.
    assert volume in flow["volumes"]
    for each in containers(template):
        (mount,) = [m for m in each["volumeMounts"] if m["name"] == "enforced"]
        assert environment(PRODUCTION, each)[FOLDER] == mount["mountPath"]
        assert mount["readOnly"] is True
    files = enforced(PRODUCTION, template, tmp_path)
    found = enforced_tables({FOLDER: str(files)})
    assert "quarantine/orders" in found
    # None declares an order of its rows: the job for that needs to know of none.
    assert not any(upkeep_of(name).z_order for name in found)


def test_the_pod_enforces_and_the_job_looks_after_what_it_has_written(
    own_stack: Stack, tmp_path: Path
) -> None:
    create_topic(own_stack.bootstrap, TOPIC, 1)
    producer = Producer({"bootstrap.servers": own_stack.bootstrap, "log_level": 0})
    pod = Pod(own_stack, tmp_path, "enforce")
    running = pod.start(1)

    def written(count: int) -> None:
        wait_until(
            lambda: pod.rows("silver/orders").height == count or running[0].poll() is not None
        )
        assert running[0].poll() is None, pod.said()

    try:
        # Two epochs, so that there are two files to put together.
        for first in (0, 30):
            for number in range(first, first + 30):
                producer.produce(TOPIC, order(number))
            producer.flush()
            written((first + 30) * 2 // 3)
        assert pod.rows("quarantine/orders").height == 20
        template = pods(PRODUCTION)["millstream-tables"]
        files = len(DeltaTable(str(tmp_path / "tables" / "silver" / "orders")).file_uris())
        assert files > 1
        # While it writes.
        for each in containers(template):
            told = environment(PRODUCTION, each) | {
                "MILLSTREAM_DELTA_ROOT": str(tmp_path / "tables"),
                FOLDER: str(tmp_path / "enforced"),
            }
            done = subprocess.run(
                [sys.executable, "-m", "ops.cli", *each["command"][1:]],
                cwd=tmp_path / "empty",
                env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **told},
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, done.stderr
            # What has no retention declared is none of that command's.
            assert "retain" in each["command"] or "silver/orders" in done.stdout
        assert len(DeltaTable(str(tmp_path / "tables" / "silver" / "orders")).file_uris()) == 1
        pod.stop(running)
    finally:
        for process in running:
            process.kill()
            process.wait()
