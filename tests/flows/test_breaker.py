"""A run of rejects ends what is to end, also where a process before has seen most of it."""

import shutil
from pathlib import Path

import polars as pl
import pytest

import schemas
from flows.enforced.files import read_folder
from operators.connectors.delta.refused_run import refused_before
from ops.local import Stack
from ops.topics import create_topic
from tests.flows.enforced import READING, settings, table
from tests.flows.test_enforce_quality import avro, send
from tests.running import Flow, run


def test_a_run_that_began_in_a_process_before_pauses(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once with the state of that process, once with what the tables have alone."""
    name = tmp_path.name
    given = settings(stack, tmp_path) | {
        "MILLSTREAM_STOP_AT_END": "true",
        "MILLSTREAM_ENFORCE_MAX_REJECT_RUN": "50",
    }
    for other in ("orders", "heartbeats"):
        shutil.rmtree(tmp_path / "enforced" / other)
    create_topic(stack.bootstrap, f"{name}.readings", 2)
    good = avro(schemas.local_id("readings", 1), READING, 1)

    def sent(*some: tuple[int, int, bytes]) -> None:
        """Send records of each partition, so many of each."""
        for partition, count, value in some:
            send(stack, f"{name}.readings", *[(partition, 0, value)] * count)

    sent((0, 45, b"junk"), (0, 1, good), (0, 30, b"junk"), (1, 49, b"junk"))
    run("enforce", given, tmp_path / "state")
    (topic,), _ = read_folder(tmp_path / "enforced")
    root = given["MILLSTREAM_DELTA_ROOT"]
    known = [refused_before(root, topic.ledger, 50, p, at) for p, at in
             ((0, 76), (0, 45), (0, 46), (0, 0), (1, 49), (1, 20))]  # fmt: skip
    assert known == [30, 45, 0, 0, 49, 20]
    assert refused_before(root, topic.ledger, 10, 0, 76) == 10
    assert refused_before(str(tmp_path / "none"), topic.ledger, 10, 0, 76) == 0
    # A good one is behind the others.
    sent((1, 1, good), (1, 49, b"junk"), (0, 19, b"junk"))
    run("enforce", given, tmp_path / "state")
    shutil.copytree(tmp_path / "state", tmp_path / "before")
    sent((0, 1, b"junk"))
    flow = Flow("enforce", given, tmp_path / "state")
    assert flow.wait() == 1, flow.said()
    assert f"{name}.readings/0: 50 records in a row were refused" in flow.said()
    assert "MILLSTREAM_MAX_REJECT_RUN, in a run that is to end" in flow.said()
    # The same from its state again, and it is taken if it may be.
    flow = Flow(
        "enforce", given | {"MILLSTREAM_ENFORCE_MAX_REJECT_RUN": "51"}, tmp_path / "before"
    )
    assert flow.wait() == 0, flow.said()
    refused = table(tmp_path, "quarantine/readings")
    assert refused.filter(pl.col("source_partition") == 0).height == 95
