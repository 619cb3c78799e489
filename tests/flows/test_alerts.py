"""The alerts flow beside a payments flow that has the tables: killed, each alert once."""

import contextlib
import random
import signal
import threading
import time
from pathlib import Path

from flows import settings as settings_
from flows.settings import PREFIX
from ops.local import Stack
from ops.simulate import Params, produce, simulate
from ops.topics import create_topic
from ops.verify import verify
from tests import topics
from tests.compare import read_topic
from tests.running import Flow, run, wait_until

PARTITIONS = 3
KILLS = 3


def test_its_topic_is_the_other_flows_table_whatever_is_killed(
    stack: Stack, tmp_path: Path
) -> None:
    name, rng = tmp_path.name, random.Random(5)
    environ = topics.settings(stack, name, tmp_path) | {"MILLSTREAM_BATCH_SIZE": "200"}
    settings = settings_.load(environ)
    to_the_end = environ | topics.TO_THE_END
    made = simulate(
        Params(payments=10_000, customers=300, terminals=300, partitions=PARTITIONS, seed=4)
    )
    made.truth.write_parquet(tmp_path / "truth.parquet")
    create_topic(stack.bootstrap, name, PARTITIONS)
    sender = threading.Thread(
        target=produce, args=(made, stack.bootstrap, name, 800.0), daemon=True
    )
    sender.start()
    flow = Flow("alerts", environ, tmp_path)
    wait_until(lambda: (tmp_path / "alerts").exists())
    found = set()
    for _ in range(KILLS):
        before = read_topic(settings, settings.alerts_topic).height
        # On a slow machine all may have been sent by now.
        with contextlib.suppress(AssertionError):
            wait_until(
                lambda before=before: (
                    read_topic(settings, settings.alerts_topic).height > before
                ),
                30,
            )
        time.sleep(rng.uniform(0, 1.0))
        flow.kill()
        found.add(read_topic(settings, settings.alerts_topic).height)
        flow = Flow("alerts", environ, tmp_path, "-w", rng.choice("123"))
    assert len(found) > 1, "kills that hit a starting flow alone show nothing"
    sender.join()
    flow.kill()
    run("alerts", to_the_end, tmp_path)
    sent = read_topic(settings, settings.alerts_topic)
    assert sent.height >= max(found)

    tables = run("payments", to_the_end | {"MILLSTREAM_SEND_ALERTS": "false"}, tmp_path)
    report = verify(settings, tmp_path / "truth.parquet")
    assert report.ok, [check for check in report.checks if not check.ok]
    assert report.counts["alerts"] == sent.height
    assert read_topic(settings, settings.alerts_topic).equals(sent), tables.said()
    # verify has held the topic to the table.
    assert read_topic(settings, settings.decisions_topic).height > 10


def test_without_its_recovery_store_it_sends_nothing_again(
    stack: Stack, tmp_path: Path
) -> None:
    name = tmp_path.name
    environ = topics.settings(stack, name, tmp_path) | topics.TO_THE_END
    topics.fill(stack.bootstrap, name, topics.made(3_000, PARTITIONS), PARTITIONS)
    settings = settings_.load(environ)
    run("alerts", environ, tmp_path / "first")
    sent = read_topic(settings, settings.alerts_topic)
    assert sent.height
    run("alerts", environ, tmp_path / "second")
    assert read_topic(settings, settings.alerts_topic).equals(sent)

    # Two slices, one killed before its first epoch is durable, send the same.
    again = environ | {
        f"{PREFIX}ALERTS_TOPIC": f"{name}.sliced",
        f"{PREFIX}DECISIONS_TOPIC": f"{name}.sliced.decisions",
    }

    def slice_(number: int, at: str = "") -> Flow:
        own = again | {f"{PREFIX}SLICE": f"{number}/2"}
        return Flow("alerts", own, tmp_path / str(number), at=at)

    dies = slice_(1, at="operators.connectors.kafka.sink._Topic.snapshot:kill")
    lives = slice_(0)
    assert dies.wait() == -signal.SIGKILL, dies.said()
    assert lives.wait() == 0, lives.said()
    assert slice_(1).wait() == 0
    for topic, sliced in (
        (settings.alerts_topic, f"{name}.sliced"),
        (settings.decisions_topic, f"{name}.sliced.decisions"),
    ):
        assert read_topic(settings, sliced).equals(read_topic(settings, topic)), topic
