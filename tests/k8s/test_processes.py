"""The flows of the manifests, run as their pods run them."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
from deltalake import DeltaTable

from ops.local import Stack
from ops.simulate import Params, produce, simulate
from ops.topics import create_topic
from tests.k8s.built import (
    K8S,
    ROOT,
    built,
    containers,
    entrypoint,
    environment,
    instruction,
    pods,
)
from tests.running import wait_until
from tests.servers.ports import lasting_port


class Pod:
    """The payments flow's pod, each container a process; all of it that is not here is put in."""

    def __init__(self, stack: Stack, folder: Path, manifests: Path = K8S) -> None:
        self._folder, self._applied = folder, str(manifests / "overlays" / "production")
        template = pods(self._applied)["millstream-payments"]
        self._containers = containers(template)
        self._grace = template["spec"]["terminationGracePeriodSeconds"]
        self._other = {
            **stack.env(),
            "MILLSTREAM_SCHEMA_REGISTRY": "",
            "MILLSTREAM_TOPIC": folder.name,
            "MILLSTREAM_ALERTS_TOPIC": f"{folder.name}.alerts",
            "MILLSTREAM_DLQ_TOPIC": f"{folder.name}.dlq",
            "MILLSTREAM_DELTA_ROOT": str(folder / "tables"),
            "BYTEWAX_RECOVERY_DIRECTORY": str(folder / "recovery"),
            "BYTEWAX_DATAFLOW_API_CACHE_PATH": str(folder),
            "BYTEWAX_SNAPSHOT_INTERVAL": "1",
        }
        # As in the image: an empty working directory, our packages on the path.
        (folder / "empty").mkdir(exist_ok=True)

    def start(self, count: int, **more: str) -> list[subprocess.Popen[bytes]]:
        """Start as many processes, each with its container's environment and arguments."""
        assert len(self._containers) >= count
        places = [f"127.0.0.1:{lasting_port()}" for _ in range(count)]
        return [self._process(each, places, more) for each in self._containers[:count]]

    def _process(
        self, container: dict[str, Any], places: list[str], more: dict[str, str]
    ) -> subprocess.Popen[bytes]:
        # The local broker knows neither TLS nor passwords.
        env = {
            name: value
            for name, value in environment(self._applied, container).items()
            if "SASL" not in name and "SECURITY_PROTOCOL" not in name
        }
        env |= {**self._other, "BYTEWAX_ADDRESSES": ";".join(places), **more}
        self.port = lasting_port()
        env["BYTEWAX_DATAFLOW_API_PORT"] = str(self.port)
        log = (self._folder / f"{container['name']}.log").open("a")
        with log:
            return subprocess.Popen(
                [sys.executable, *entrypoint()[1:], *container["args"]],
                cwd=self._folder / "empty",
                env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **env},
                stdout=log,
                stderr=log,
            )

    def stop(self, running: list[subprocess.Popen[bytes]]) -> None:
        """End processes as the kubelet does: one that takes longer than its grace is killed."""
        for each in running:
            each.terminate()
        end = time.monotonic() + self._grace
        for each in running:
            try:
                status = each.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                each.kill()
                status = each.wait()
            assert status in (0, 1, -signal.SIGKILL), self.said()

    def healthy(self) -> bool:
        """Ask the process that was started last what its probes and the image's check ask."""
        (container, *_) = self._containers
        commands = [
            container[f"{name}Probe"]["exec"]["command"] for name in ("liveness", "readiness")
        ]
        commands.append(json.loads(instruction("HEALTHCHECK").partition("CMD ")[2]))
        port = {"BYTEWAX_DATAFLOW_API_PORT": str(self.port)}
        fine = True
        for program, *arguments in commands:
            assert program == "millstream"
            command = [sys.executable, "-m", "ops.cli", *arguments]
            done = subprocess.run(command, cwd=ROOT, env=os.environ | port, capture_output=True)
            fine &= done.returncode == 0
        return fine

    def said(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self._folder.glob("*.log")))

    def rows(self, table: str) -> pl.DataFrame:
        try:
            read = DeltaTable(str(self._folder / "tables" / table))
            return pl.read_delta(read)
        except Exception:  # not there yet, or half made
            return pl.DataFrame()


def with_a_fourth(folder: Path) -> Path:
    """Return manifests with one more process of the payments flow, as docs/operations.md says."""
    copied = Path(shutil.copytree(K8S, folder / "k8s"))
    processes = copied / "components" / "three-processes" / "processes.yaml"
    blocks = processes.read_text().split("\n\n")
    blocks[0] = blocks[0].replace(":2103", ":2103;127.0.0.1:2104")
    blocks.insert(3, _following(blocks[2]))
    processes.write_text("\n\n".join(blocks))
    for name, lines in (
        ("components/three-processes/kustomization.yaml", r" +- op: .*\n.*\n.*metrics-2.*\n"),
        ("watching/servicemonitor.yaml", r" +- .*metrics-2.*\n"),
    ):
        text = (copied / name).read_text()
        (copied / name).write_text(re.sub(lines, lambda of: of[0] + _following(of[0]), text))
    return copied


def _following(third: str) -> str:
    """Return what is said of the process after the third."""
    for old, new in (("-2", "-3"), ("containers/2", "containers/3"), ('"2"', '"3"')):
        third = third.replace(old, new)
    return third.replace("3032", "3033")


def test_three_processes_one_killed_all_started_again_and_one_more_added(
    stack: Stack, tmp_path: Path
) -> None:
    create_topic(stack.bootstrap, tmp_path.name, 4)
    made = [
        simulate(Params(customers=200, terminals=200, payments=500, partitions=4, seed=seed))
        for seed in (1, 2, 3)
    ]
    produce(made[0], stack.bootstrap, tmp_path.name)
    pod = Pod(stack, tmp_path)
    running = pod.start(3)
    try:
        wait_until(lambda: pod.rows("silver/payments").height or running[0].poll() is not None)
        assert all(each.poll() is None for each in running), pod.said()
        wait_until(pod.healthy)
        produce(made[1], stack.bootstrap, tmp_path.name)
        running[1].send_signal(signal.SIGKILL)
        # The kubelet starts all of them again, as all of them have ended.
        assert [each.wait(60) for each in running] == [1, -signal.SIGKILL, 1], pod.said()
        assert not pod.healthy()
        running = pod.start(3)
        sent = sum(each.records.height for each in made[:2])
        wait_until(
            lambda: pod.rows("bronze/payments").height == sent or running[0].poll() is not None
        )
        assert all(each.poll() is None for each in running), pod.said()
        # As applying one more process does: stop, change, start.
        pod.stop(running)
        produce(made[2], stack.bootstrap, tmp_path.name)
        changed = with_a_fourth(tmp_path)
        for (kind, _), doc in built(str(changed / "overlays" / "production")).items():
            if kind in ("Service", "NetworkPolicy", "ServiceMonitor"):
                text = json.dumps(doc)
                assert ('"metrics-3"' in text) is ('"metrics-2"' in text), kind
        pod = Pod(stack, tmp_path, changed)
        running = pod.start(4, MILLSTREAM_STOP_AT_END="true")
        assert [each.wait(120) for each in running] == [0, 0, 0, 0], pod.said()
    finally:
        for each in running:
            each.kill()
            each.wait()
    truth = pl.concat([each.truth for each in made])
    bronze = pod.rows("bronze/payments")
    assert bronze.height == sum(each.records.height for each in made)
    assert bronze.select("source_partition", "source_offset").is_unique().all()
    for place, table in (
        ("silver", "silver/payments"),
        ("duplicates", "silver/duplicates"),
        ("quarantine", "quarantine/payments"),
    ):
        assert pod.rows(table).height == truth.filter(pl.col("place") == place).height, table
