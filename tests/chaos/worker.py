"""A flow's process as the bench starts it: ``bytewax.run`` with short epochs and failpoints.

Everything a fault needs inside the process is put over the connectors from here, so that
the product has no test hooks. The environment says what:

CHAOS_STREAM    whose flow it is
CHAOS_EPOCH     the epoch's length in seconds, fractions allowed
CHAOS_WORKERS   threads
CHAOS_POINT, CHAOS_NOTES   as in `points`
CHAOS_OSERROR   errno:rate:seed, the share of Delta writes that fail with it
CHAOS_PACE      seconds to wait before each batch
"""

import argparse
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from importlib import import_module
from typing import Any, Final

from tests.chaos.points import Point, around, note, passed, soon

POINTS: Final = (
    "before the commit",
    "after the commit, before the snapshot",
    "between two tables' commits",
    "after the snapshot, before the recovery store's commit",
    "mid Kafka flush",
    "mid dedup call",
    "mid recovery write",
)


CONTROL_POINTS: Final = (
    "before a change is written",
    "after a change is written, before it holds",
)
"""Those of a flow that follows a control topic, beside `POINTS`."""


FORWARD_POINTS: Final = ("before records go on", "after records went on", "mid forward")
"""Those of a flow that sends records on as they came."""


def install() -> None:
    """Put the failpoints over the connectors."""
    from operators import metrics
    from operators.connectors.delta import control_history
    from operators.connectors.delta import writer as delta_writer
    from operators.connectors.kafka import forward as kafka_forward
    from operators.connectors.kafka import producer as kafka_producer
    from operators.connectors.kafka import source as kafka_source
    from operators.connectors.redis import dedup_store as first_seen

    point = Point()
    in_order = threading.Lock()
    refuse = _refusals()

    def write(original: Any) -> Any:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            point("before the commit")
            refuse("before")
            if point.name != "between two tables' commits":
                done = original(*args, **kwargs)
            else:
                with in_order:
                    done = original(*args, **kwargs)
                    point("between two tables' commits")
            note("commit")
            refuse("after")
            point("after the commit, before the snapshot")
            return done

        return wrapped

    around(delta_writer, "write", write)

    def snapshot(original: Any) -> Any:
        def wrapped(self: Any) -> Any:
            state = original(self)
            point("after the snapshot, before the recovery store's commit")
            point("mid recovery write", soon)
            return state

        return wrapped

    around(delta_writer.Writer, "snapshot", snapshot)

    around(control_history.ControlHistory, "add", passed(point, *CONTROL_POINTS))

    class Producer(kafka_producer.Producer):
        def flush(self, *args: Any) -> Any:
            if point.name == "mid Kafka flush":
                self.poll(0.002)
            point("mid Kafka flush")
            return super().flush(*args)

    kafka_producer.Producer = Producer
    kafka_forward.Producer = Producer
    around(kafka_forward._Topic, "_produce", passed(point, *FORWARD_POINTS[:2]))

    def messages(original: Any) -> Any:
        def wrapped(*args: Any) -> Any:
            found = original(*args)
            if point.name == FORWARD_POINTS[2] and len(found) > 1:
                # What came before has gone, of these half.
                half = len(found) // 2
                args[0]._produce(found[:half])
                args[0]._producer.poll(0.002)
                point(FORWARD_POINTS[2])
                return found[half:]
            return found

        return wrapped

    around(kafka_forward._Topic, "_messages", messages)

    def first(original: Any) -> Any:
        def wrapped(self: Any, ids: Any, hours: Any, partitions: Any, offsets: Any) -> Any:
            half = len(ids) // 2
            if point.name == "mid dedup call" and half:
                original(self, ids[:half], hours[:half], partitions[:half], offsets[:half])
                point("mid dedup call")
            return original(self, ids, hours, partitions, offsets)

        return wrapped

    around(first_seen.RedisDedupStore, "first", first)

    pace = float(os.environ.get("CHAOS_PACE", "0"))
    started = False

    def next_batch(original: Any) -> Any:
        def wrapped(self: Any) -> Any:
            nonlocal started
            if not started:
                started = True
                note(f"started {os.getpid()}")
            if pace:
                time.sleep(pace)
            return original(self)

        return wrapped

    around(kafka_source._Partition, "next_batch", next_batch)

    fenced = metrics.FENCED.labels

    def labels(table: str) -> Any:
        child = fenced(table)

        class Counted:
            def inc(self, n: float) -> None:
                note(f"fenced {table} {n:.0f}")
                child.inc(n)

        return Counted()

    metrics.FENCED.labels = labels


def _refusals() -> Callable[[str], None]:
    """Return what makes a share of the Delta writes fail, before or after they land."""
    error, _, rest = os.environ.get("CHAOS_OSERROR", "").partition(":")
    if not error:
        return lambda _: None
    rate, seed = rest.split(":")
    luck, lock = random.Random(int(seed) + os.getpid()), threading.Lock()

    def refuse(when: str) -> None:
        with lock:
            hit = luck.random() < float(rate) / 2
        if hit:
            note(f"refused {when}")
            raise OSError(int(error), os.strerror(int(error)), f"{when} the commit")

    return refuse


def main() -> None:
    """Run the flow as ``bytewax.run`` would."""
    import flows  # noqa: F401 # sets what must be set before Polars is imported

    parser = argparse.ArgumentParser()
    parser.add_argument("-r", "--recovery-directory")
    parser.add_argument("-i", "--process-id", type=int)
    parser.add_argument("-a", "--addresses")
    args = parser.parse_args()
    install()

    from bytewax.recovery import RecoveryConfig
    from bytewax.run import cli_main

    built = import_module(f"flows.{os.environ['CHAOS_STREAM']}").flow()
    cli_main(
        built,
        workers_per_process=int(os.environ.get("CHAOS_WORKERS", "1")),
        process_id=args.process_id,
        addresses=args.addresses.split(";") if args.addresses else None,
        epoch_interval=timedelta(seconds=float(os.environ.get("CHAOS_EPOCH", "1"))),
        recovery_config=RecoveryConfig(args.recovery_directory, timedelta(0)),
    )
    note("done")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
