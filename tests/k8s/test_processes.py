"""The flows of the manifests, run as their pods run them."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

import polars as pl
import pytest
from deltalake import DeltaTable

from flows import settings
from ops.local import Stack, local_stack
from ops.simulate import Params, Simulation, produce, simulate
from ops.topics import create_topic
from ops.verify import verify
from tests.compare import read_topic
from tests.k8s.built import (
    K8S,
    ROOT,
    built,
    containers,
    entrypoint,
    environment,
    instruction,
    mounted,
    pods,
)
from tests.running import wait_until
from tests.servers.ports import lasting_port

TOPIC: Final = "payments"
_SECURED: Final = ("MILLSTREAM_KAFKA_SASL", "MILLSTREAM_KAFKA_SECURITY_PROTOCOL")


@pytest.fixture
def own_stack(tmp_path: Path) -> Iterator[Stack]:
    """Servers of the test's own, as the topics are called what the manifests call them."""
    with local_stack(tmp_path / "stack") as running:
        yield running


class Pod:
    """A flow's pod of the production overlay, each container a process.

    With exactly the environment of the manifests, of the image and of the secret's files, but for
    what one machine has otherwise: the addresses of brokers, Redis and registry; the folders of
    tables, recovery store and secret; the ports of links and metrics, which others may have here;
    and that the broker knows neither TLS nor passwords.
    """

    def __init__(
        self, stack: Stack, folder: Path, flow: str = "payments", manifests: Path = K8S
    ) -> None:
        self._folder, self._applied = folder, str(manifests / "overlays" / "production")
        self._template = pods(self._applied)[f"millstream-{flow}"]
        self._containers = containers(self._template)
        self._grace = self._template["spec"]["terminationGracePeriodSeconds"]
        self._redis = {"redis-url": stack.redis_url}
        self._here = {
            "MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS": stack.bootstrap,
            "MILLSTREAM_SCHEMA_REGISTRY": stack.registry_url,
            "MILLSTREAM_DELTA_ROOT": str(folder / "tables"),
            "BYTEWAX_RECOVERY_DIRECTORY": str(folder / f"recovery-{flow}"),
            "BYTEWAX_DATAFLOW_API_CACHE_PATH": str(folder),
        }
        # As in the image: an empty working directory, our packages on the path.
        (folder / "empty").mkdir(exist_ok=True)

    def start(self, count: int) -> list[subprocess.Popen[bytes]]:
        """Start as many processes, each with its container's environment and arguments."""
        assert len(self._containers) == count
        places = [f"127.0.0.1:{lasting_port()}" for _ in range(count)]
        return [self._process(each, ";".join(places)) for each in self._containers]

    def environment(self, container: dict[str, Any]) -> dict[str, str]:
        """Return a container's environment here, but for its ports."""
        told = environment(self._applied, container)
        told = mounted(self._template, container, told, self._folder / "secret", self._redis)
        assert told.keys() >= self._here.keys()
        plain = {name: v for name, v in told.items() if not name.startswith(_SECURED)}
        return plain | self._here

    @property
    def settings(self) -> settings.Settings:
        """The flow's settings here."""
        return settings.load(self.environment(self._containers[0]))

    def _process(self, container: dict[str, Any], places: str) -> subprocess.Popen[bytes]:
        env = self.environment(container)
        if "BYTEWAX_ADDRESSES" in env:
            env["BYTEWAX_ADDRESSES"] = places
        self.port = lasting_port()
        env["BYTEWAX_DATAFLOW_API_PORT"] = str(self.port)
        log = (self._folder / f"{container['args'][0]}-{container['name']}.log").open("a")
        with log:
            return subprocess.Popen(
                [sys.executable, *entrypoint()[1:], *container["args"]],
                cwd=self._folder / "empty",
                env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **env},
                stdout=log,
                stderr=log,
            )

    def stop(self, running: list[subprocess.Popen[bytes]]) -> None:
        """End processes as the kubelet does; each has to have ended well within its grace."""
        for each in running:
            each.terminate()
        end = time.monotonic() + self._grace
        statuses = []
        for each in running:
            try:
                statuses.append(each.wait(max(0.0, end - time.monotonic())))
            except subprocess.TimeoutExpired:
                each.kill()
                statuses.append(each.wait())
        assert statuses == [0] * len(running), self.said()

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


def one_after_the_other(made: Sequence[Simulation]) -> pl.DataFrame:
    """Return the truth about a topic that has had several simulations sent to it."""
    frames, before = [], pl.DataFrame(schema={"partition": pl.Int64, "before": pl.Int64})
    for each in made:
        partition = pl.col("partition").cast(pl.Int64)
        truth = each.truth.with_columns(partition).join(before, "partition", how="left")
        moved = pl.col("sequence").cast(pl.Int64) + pl.col("before").fill_null(0)
        frames.append(truth.with_columns(sequence=moved).drop("before"))
        before = pl.concat(frames).group_by("partition").len("before").cast(pl.Int64)
    return pl.concat(frames)


def test_three_processes_one_killed_all_started_again_and_one_more_added(
    own_stack: Stack, tmp_path: Path
) -> None:
    stack = own_stack
    create_topic(stack.bootstrap, TOPIC, 4)
    made = [
        simulate(Params(customers=200, terminals=200, payments=500, partitions=4, seed=seed))
        for seed in (1, 2, 3)
    ]
    sent = list(accumulate(each.records.height for each in made))
    produce(made[0], stack.bootstrap, TOPIC)
    pod = Pod(stack, tmp_path)
    running = pod.start(3)

    def written(count: int) -> None:
        """Wait until bronze has so many records; fails where a process has ended."""
        wait_until(
            lambda: (
                pod.rows("bronze/payments").height >= count
                or any(each.poll() is not None for each in running)
            )
        )
        assert all(each.poll() is None for each in running), pod.said()

    try:
        written(1)
        wait_until(pod.healthy)
        produce(made[1], stack.bootstrap, TOPIC)
        running[1].send_signal(signal.SIGKILL)
        # The kubelet starts all of them again, as all of them have ended.
        assert [each.wait(60) for each in running] == [1, -signal.SIGKILL, 1], pod.said()
        assert not pod.healthy()
        running = pod.start(3)
        written(sent[1])
        # As applying one more process does: stop, change, start.
        pod.stop(running)
        produce(made[2], stack.bootstrap, TOPIC)
        changed = with_a_fourth(tmp_path)
        for (kind, _), doc in built(str(changed / "overlays" / "production")).items():
            if kind in ("Service", "NetworkPolicy", "ServiceMonitor"):
                text = json.dumps(doc)
                assert ('"metrics-3"' in text) is ('"metrics-2"' in text), kind
        pod = Pod(stack, tmp_path, manifests=changed)
        running = pod.start(4)
        written(sent[2])
        pod.stop(running)
        # Production has a flow of its own for alerts.
        alerts = Pod(stack, tmp_path, "alerts")
        running = alerts.start(1)
        raised = pod.rows("gold/alerts").height
        assert raised

        def sent_alerts() -> bool:
            assert running[0].poll() is None, alerts.said()
            return read_topic(alerts.settings, f"{TOPIC}.alerts").height == raised

        wait_until(sent_alerts)
        alerts.stop(running)
    finally:
        for each in running:
            each.kill()
            each.wait()
    # Every value of every table, as the topic and the simulation have it.
    truth = tmp_path / "truth.parquet"
    one_after_the_other(made).write_parquet(truth)
    report = verify(pod.settings, truth)
    assert report.ok, [check for check in report.checks if not check.ok]
    assert report.counts["events"] == sent[2]
