"""The faults, one function each: run flows under it `times` times, compare all tables."""

import errno
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from typing import Final

from deltalake import DeltaTable

from flows.tables import BRONZE, SILVER, terminal_minute_table
from operators.connectors.delta import table_uri
from ops.simulate import produce
from ops.verify import verify
from tests.chaos.flow import Flow, Shape
from tests.chaos.maintenance import Maintenance
from tests.chaos.worker import POINTS
from tests.chaos.world import Result, World, make
from tests.servers import kafka as kafka_server
from tests.servers import s3 as s3_server

Fault = Callable[[World, Result, int], None]

_GIVE_UP: Final = 180.0
_PACES: Final = ("0.01", "0.03")


def kill(world: World, result: Result, times: int) -> None:
    """`kill -9` at random times and at every named point; each restart has another shape."""
    luck = world.luck
    points: list[str] = []
    shapes: set[str] = set()
    while result.times < times and not result.problems:
        flow = world.flow("kill")
        with Maintenance(
            flow.environ["MILLSTREAM_DELTA_ROOT"], luck.randrange(2**31)
        ) as upkeep:
            while True:
                shape = world.shape()
                shapes.add(str(shape))
                if result.times >= times:
                    world.finish(flow, result, shape)
                    break
                if result.times % 2 == 0:
                    # Each point in turn, so that none is left to chance.
                    points = points or luck.sample(POINTS, len(POINTS))
                    name = points.pop()
                    how, ended = f"at: {name}", _kill_at(flow, shape, name, luck)
                else:
                    how, ended = "at a random time", _kill_some_time(flow, shape, luck)
                if ended == "finished":
                    break
                if ended != "killed":
                    result.problems.append(f"{how}, {shape}: {ended}")
                    break
                result.times += 1
                _count(result, how)
        _count(result, "maintenance", sum(upkeep.done.values()))
        if not result.problems:
            world.compare(flow, result)
        world.drop(flow, result)
    result.said.append(f"{len(shapes)} shapes")


def _count(result: Result, what: str, n: int = 1) -> None:
    result.detail[what] += n


def _kill_at(flow: Flow, shape: Shape, point: str, luck: random.Random) -> str:
    flow.start(shape, point=f"{point}:{luck.randint(1, 12)}", pace=luck.choice(_PACES))
    codes = flow.wait(_GIVE_UP)
    if codes is None:
        flow.kill()
        return f"still running after {_GIVE_UP:.0f} s: {flow.said()}"
    return _ended(flow, codes)


def _kill_some_time(flow: Flow, shape: Shape, luck: random.Random) -> str:
    flow.start(shape, pace=luck.choice(_PACES))
    if luck.random() < 0.1:
        time.sleep(luck.uniform(0.2, 2.0))  # while it starts
    elif flow.wait_started():
        time.sleep(luck.uniform(0.0, 1.2))
    if not flow.running():
        codes = flow.wait(_GIVE_UP)
        return _ended(flow, codes or [])
    if luck.random() < 0.5:
        flow.kill()
        return "killed"
    # One dies, and takes the others with it.
    flow.kill(luck.randrange(shape.processes))
    if flow.wait(30) is None:
        flow.kill()
        return f"the other processes outlived one by 30 s: {flow.said()}"
    return "killed"


def _ended(flow: Flow, codes: list[int]) -> str:
    if codes and not any(codes):
        return "finished"
    return "killed" if -signal.SIGKILL in codes else f"ended with {codes}: {flow.said()}"


def sigterm(world: World, result: Result, times: int) -> None:
    """SIGTERM: every process ends by itself within 10 s, and nothing is replayed."""
    luck = world.luck
    while result.times < times and not result.problems:
        flow = world.flow("sigterm")
        for _ in range(min(4, times - result.times)):
            shape = Shape(luck.choice([1, 1, 2]), 1, luck.choice([20, 50]), 1.0)
            flow.start(shape, pace="0.05")
            if not flow.wait_started():
                break
            time.sleep(luck.uniform(0.2, 2.5))
            if not flow.running():
                break
            began = time.monotonic()
            flow.terminate()
            codes = flow.wait(20)
            took = time.monotonic() - began
            if codes is None or any(codes) or took > 10:
                flow.kill()
                result.problems.append(f"{shape}: {codes} after {took:.1f} s: {flow.said()}")
                break
            result.times += 1
            result.longest = max(result.longest, took)
        if not result.problems and world.finish(flow, result):
            if flow.notes.fenced:
                result.problems.append(f"{flow.notes.fenced} rows were replayed after a drain")
            world.compare(flow, result)
        world.drop(flow, result)
    result.said.append(f"longest {result.longest:.1f} s")


def brokers(world: World, result: Result, times: int) -> None:
    """A broker of three killed and started again while the flow reads and writes."""
    cluster, luck = world.cluster, world.luck
    assert cluster is not None
    while result.times < times and not result.problems:
        flow = world.flow("broker")
        shape = Shape(luck.choice([1, 2]), 1, 50, 0.3)
        flow.start(shape, pace="0.05")
        flow.wait_started()
        while flow.running() and result.times < times:
            victim = luck.choice(list(cluster.brokers))
            cluster.kill(victim)
            time.sleep(luck.uniform(0.5, 5))
            cluster.start(victim)
            cluster.wait_for(len(cluster.brokers))
            result.times += 1
            time.sleep(luck.uniform(0.2, 2))
        _until_done(world, flow, result, shape)


def _until_done(
    world: World, flow: Flow, result: Result, shape: Shape, restarts: int = 10, **chaos: str
) -> None:
    """Wait for the end, restarting the flow as a supervisor would; then compare."""
    for _ in range(restarts):
        codes = flow.wait(_GIVE_UP)
        if codes is not None and not any(codes):
            world.compare(flow, result)
            world.drop(flow, result)
            return
        flow.kill()
        if codes is None:
            break
        _count(result, "restarts")
        flow.start(shape, **chaos)
    result.problems.append(f"never ended well: {flow.said()}")


def redis_stopped(world: World, result: Result, times: int) -> None:
    """Redis gone for 30 s, back with its data."""
    _redis(world, result, times, pause=30.0, empty=False)


def redis_restarted(world: World, result: Result, times: int) -> None:
    """Redis restarted at once, with its data."""
    _redis(world, result, times, pause=0.0, empty=False)


def redis_emptied(world: World, result: Result, times: int) -> None:
    """Redis restarted empty."""
    _redis(world, result, times, pause=0.0, empty=True)


def _redis(world: World, result: Result, times: int, *, pause: float, empty: bool) -> None:
    luck = world.luck
    while result.times < times and not result.problems:
        flow = world.flow("redis")
        processes = luck.choice([1, 2, world.largest])
        shape = Shape(processes, 1, luck.choice([20, 50]), luck.choice([0.2, 1.0]))
        flow.start(shape, pace="0.03")
        flow.wait_started()
        while flow.running() and result.times < times:
            time.sleep(luck.uniform(0.2, 1.5))
            if not flow.running():
                break
            world.redis.kill()
            time.sleep(pause)
            world.redis.start(empty=empty)
            result.times += 1
            if luck.random() < 0.3 and pause == 0:
                # Both at once.
                flow.kill()
                flow.start(shape, pace="0.03")
                flow.wait_started()
        _until_done(world, flow, result, shape)


def disk(world: World, result: Result, times: int) -> None:
    """Writes refused by the disk, before or after they landed: full, or no permission."""
    luck = world.luck
    while result.times < times and not result.problems:
        flow = world.flow("disk")
        code = luck.choice([errno.ENOSPC, errno.EACCES, errno.EIO])
        shape = Shape(luck.choice([1, 2]), 1, 200, 0.1)
        chaos = {"oserror": f"{code}:{luck.choice([0.1, 0.3])}:{luck.randrange(2**31)}"}
        flow.start(shape, **chaos)
        _until_done(world, flow, result, shape, restarts=30, **chaos)
        result.times += flow.notes.refused


def object_store(world: World, result: Result, times: int) -> None:
    """An S3 store that answers 500, 503, SlowDown, late, or not at all after it wrote."""
    luck = world.luck
    with s3_server.s3(world.folder) as port, s3_server.proxy(port, world.seed) as proxy:
        s3_server.create_bucket(port, "millstream")
        environ = s3_server.storage_env(proxy.port)
        # The comparison reads the tables too, without faults: the proxy could not answer
        # while deltalake holds this process's lock.
        os.environ.update(s3_server.storage_env(port))
        try:
            while result.times < times and not result.problems:
                root = f"s3://millstream/{luck.randrange(2**31)}"
                flow = world.flow("s3", root, **environ)
                shape = Shape(1, 1, 700, 1.0)
                proxy.rate = luck.choice([0.05, 0.15, 0.3])
                flow.start(shape)
                for _ in range(30):
                    codes = flow.wait(_GIVE_UP)
                    if codes is None or not any(codes):
                        break
                    _count(result, "restarts")
                    flow.start(shape)
                proxy.rate = 0.0
                if codes is None:
                    flow.kill()
                    result.problems.append(f"still running: {flow.said()}")
                else:
                    world.compare(flow, result)
                    report = world.verify(flow)
                    if not report.ok:
                        result.problems.append(f"verify: {report.to_json()}"[:2000])
                world.drop(flow, result)
                result.times = sum(proxy.done.values())
        finally:
            for name in environ:
                os.environ.pop(name, None)
        result.detail.update(proxy.done)


def two_copies(world: World, result: Result, times: int) -> None:
    """Two copies on the same tables: one stops with a clear error, the tables stay exact."""
    luck = world.luck
    while result.times < times and not result.problems:
        flow = world.flow("copies")
        other = Flow(flow.folder / "other", flow.environ)
        shared = luck.random() < 0.5
        if shared:
            other.state = flow.state
        shape = Shape(1, 1, 20, 0.2)
        flow.start(shape, pace="0.15")
        flow.wait_started()
        time.sleep(luck.uniform(0.0, 1.0))
        other.start(shape, pace="0.15")
        deadline = time.monotonic() + 60
        while flow.running() and other.running() and time.monotonic() < deadline:
            time.sleep(0.02)
        loser, winner = (other, flow) if not other.running() else (flow, other)
        codes = loser.wait(10)
        clear = ("another copy", "is in use")
        if not codes or not any(codes) or not any(text in loser.said(40) for text in clear):
            result.problems.append(f"the loser ended with {codes}: {loser.said(40)}")
        result.times += 1
        _count(result, "same recovery store" if shared else "own recovery store")
        if winner.wait(_GIVE_UP) != [0] and not result.problems:
            # The winner met the loser's last commit; alone it goes on.
            _count(result, "both stopped")
            world.finish(winner, result, shape)
        if not result.problems:
            # Two live copies both send alerts: only the tables are promised.
            world.compare(winner, result, topics=False)
        loser.kill()
        winner.kill()
        world.drop(flow, result)


def recovery_lost(world: World, result: Result, times: int) -> None:
    """The recovery store deleted, or restored from earlier; a table deleted or restored."""
    luck = world.luck
    cases = (
        "store deleted",
        "store restored",
        "table deleted",
        "table restored",
        "table and store",
    )
    while result.times < times and not result.problems:
        case = cases[result.times % len(cases)]
        flow = world.flow("recovery")
        shape = Shape(1, 1, 50, 0.1)

        def go_on(seconds: float, flow: Flow = flow, shape: Shape = shape) -> None:
            flow.start(shape, pace="0.02")
            flow.wait_started()
            time.sleep(seconds)
            flow.kill()

        go_on(luck.uniform(1.0, 1.5))
        earlier = flow.folder / "earlier"
        shutil.copytree(flow.state, earlier)
        name = luck.choice([BRONZE.name, SILVER.name, terminal_minute_table(0).name])
        table = table_uri(flow.environ["MILLSTREAM_DELTA_ROOT"], name)
        version = DeltaTable(table).version()
        go_on(luck.uniform(1.0, 1.5))
        if case in ("store deleted", "table and store"):
            shutil.rmtree(flow.state)
        elif case == "store restored":
            shutil.rmtree(flow.state)
            earlier.rename(flow.state)
        if case in ("table deleted", "table and store"):
            shutil.rmtree(table)
        elif case == "table restored":
            DeltaTable(table).restore(version)
        if case in ("table deleted", "table restored"):
            flow.start(Shape())
            codes = flow.wait(_GIVE_UP)
            clear = "FencedError" in flow.said(40) and name in flow.said(40)
            if not codes or not any(codes) or not clear:
                result.problems.append(f"{case} {name}: not refused: {codes} {flow.said(30)}")
            flow.kill()
            _count(result, f"{case}: refused")
            if case == "table restored" and not result.problems:
                # What the message says to do.
                shutil.rmtree(flow.state)
                shutil.rmtree(table)
            elif not result.problems:
                shutil.rmtree(flow.state)
        if not result.problems and world.finish(flow, result):
            world.compare(flow, result)
            _count(result, f"{case}: exact")
        result.times += 1
        world.drop(flow, result)


def partitions_added(world: World, result: Result, times: int) -> None:
    """Kafka partitions added while the flow runs: read from the next start on, none lost."""
    luck = world.luck
    while result.times < times and not result.problems:
        topic = f"{world.topic}.grown{result.times}"
        kafka_server.create_topic(world.bootstrap, topic, 2)
        first = make(luck.randrange(2**31), len(world.made.payments) // 4, 2)
        produce(first, world.bootstrap, topic)
        flow = world.flow("partitions", MILLSTREAM_TOPIC=topic, MILLSTREAM_STOP_AT_END="false")
        shape = Shape(luck.choice([1, 2]), 1, 200, 0.2)
        flow.start(shape)
        flow.wait_started()
        time.sleep(luck.uniform(0.5, 2))
        kafka_server.add_partitions(world.bootstrap, topic, 5)
        more = make(luck.randrange(2**31), len(world.made.payments) // 4, 5)
        produce(more, world.bootstrap, topic)
        time.sleep(luck.uniform(0.2, 1))
        for _ in range(min(2, times)):
            flow.kill()
            shape = world.shape()
            flow.start(shape)
            flow.wait_started()
            time.sleep(luck.uniform(0.3, 1.0))
        flow.kill()
        flow.environ["MILLSTREAM_STOP_AT_END"] = "true"
        if world.finish(flow, result, shape):
            report = verify(world.settings(flow))
            result.rows += sum(check.compared for check in report.checks)
            result.differences += sum(check.offending for check in report.checks)
            result.problems += [
                f"{c.name}: {c.examples[:2]}" for c in report.checks if not c.ok
            ]
        result.count(flow)
        result.times += 1
        world.drop(flow, result)


FAULTS: Final[dict[str, tuple[Fault, int]]] = {
    "kill -9": (kill, 500),
    "SIGTERM": (sigterm, 20),
    "broker of three killed": (brokers, 20),
    "Redis stopped for 30 s": (redis_stopped, 10),
    "Redis restarted with its data": (redis_restarted, 10),
    "Redis restarted empty": (redis_emptied, 10),
    "disk refuses writes": (disk, 50),
    "S3 fails": (object_store, 50),
    "two copies at once": (two_copies, 10),
    "recovery store or table lost": (recovery_lost, 10),
    "partitions added": (partitions_added, 3),
}
"""Each fault by name, and how often a full run has it."""
