"""Faults of Kafka and Redis: killed, restarted, emptied, grown."""

import time

from ops.simulate import produce
from ops.verify import verify
from tests.chaos.faults.watching import tended, until_done
from tests.chaos.flow import Shape
from tests.chaos.world import FOR_EVER, Result, World, make
from tests.servers import kafka as kafka_server
from tests.topics import TO_THE_END


def brokers(world: World, result: Result, times: int) -> None:
    """A broker of three killed and started again while the flow reads and writes."""
    cluster, luck = world.cluster, world.luck
    assert cluster is not None
    while result.times < times and not result.problems:
        flow = world.flow("broker")
        shape = Shape(luck.choice([1, 2]), 1, 50, 0.3)
        with tended(world, flow, result):
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
        until_done(world, flow, result, shape)


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
        with tended(world, flow, result):
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
        until_done(world, flow, result, shape)


def partitions_added(world: World, result: Result, times: int) -> None:
    """Kafka partitions added while the flow runs: read from the next start on, none lost."""
    luck = world.luck
    while result.times < times and not result.problems:
        topic = f"{world.topic}.grown{result.times}"
        kafka_server.create_topic(world.bootstrap, topic, 2)
        first = make(world.stream, luck.randrange(2**31), world.records // 4, 2)
        produce(first, world.bootstrap, topic)
        flow = world.flow("partitions", **{world.variable("topic"): topic}, **FOR_EVER)
        shape = Shape(luck.choice([1, 2]), 1, 200, 0.2)
        with tended(world, flow, result):
            flow.start(shape)
            flow.wait_started()
            time.sleep(luck.uniform(0.5, 2))
            kafka_server.add_partitions(world.bootstrap, topic, 5)
            more = make(world.stream, luck.randrange(2**31), world.records // 4, 5)
            produce(more, world.bootstrap, topic)
            time.sleep(luck.uniform(0.2, 1))
            for _ in range(min(2, times)):
                flow.kill()
                shape = world.shape()
                flow.start(shape)
                flow.wait_started()
                time.sleep(luck.uniform(0.3, 1.0))
            flow.kill()
        flow.environ |= TO_THE_END
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
