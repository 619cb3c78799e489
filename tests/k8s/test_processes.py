"""The flows of the manifests, run as their pods run them."""

import json
import re
import shutil
import signal
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Final

import polars as pl

from ops.local import Stack
from ops.simulate import Params, Simulation, produce, simulate
from ops.topics import create_topic
from ops.verify import verify
from tests.compare import read_topic
from tests.k8s.built import K8S, built
from tests.k8s.pod import Pod
from tests.running import wait_until

TOPIC: Final = "payments"


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
