"""Faults of the flow's processes: killed, told to end, or there twice."""

import random
import signal
import time
from dataclasses import replace
from typing import Final

from tests.chaos.faults.watching import GIVE_UP, count, tended
from tests.chaos.flow import Flow, Shape
from tests.chaos.worker import POINTS
from tests.chaos.world import Result, World

_PACES: Final = ("0.01", "0.03")

NOT_PASSED: Final = "not passed"
"""How a flow ended that has not come to its point in the time that it had."""


def kill(world: World, result: Result, times: int) -> None:
    """`kill -9` at random times and at every named point; each restart has another shape."""
    luck = world.luck
    points: list[str] = []
    shapes: set[str] = set()
    while result.times < times and not result.problems:
        flow = world.flow("kill")
        with tended(world, flow, result):
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
                    how, ended = f"at: {name}", kill_at(flow, shape, name, luck)
                else:
                    how, ended = "at a random time", kill_some_time(flow, shape, luck)
                if ended == "finished":
                    break
                if ended != "killed":
                    result.problems.append(f"{how}, {shape}: {ended}")
                    break
                result.times += 1
                count(result, how)
        if not result.problems:
            world.compare(flow, result)
        world.drop(flow, result)
    result.said.append(f"{len(shapes)} shapes")


def starts(world: World, result: Result, times: int) -> None:
    """Fresh clusters, killed in their first seconds: each has got under way by then.

    What stands still has the stacks of its threads in the log, by the watchdog.
    """
    luck = world.luck
    while result.times < times and not result.problems:
        flow = world.flow("start", MILLSTREAM_STALL_TIMEOUT="40s")
        shape = replace(Shape.draw(luck), processes=world.largest, threads=1)
        wanted, deadline = luck.choice([1, 5, 10, 20]), time.monotonic() + GIVE_UP
        flow.start(shape, pace=luck.choice(_PACES))
        while flow.running() and flow.notes.commits < wanted and time.monotonic() < deadline:
            time.sleep(0.02)
            flow.notes.update()
        if not flow.running():
            codes = flow.wait(GIVE_UP)
            if codes is None or any(codes):
                result.problems.append(f"{shape}: ended with {codes}: {flow.said(200)}")
        elif flow.notes.commits < wanted:
            result.problems.append(f"{shape}: never got under way: {flow.said(200)}")
        flow.kill()
        result.times += 1
        result.count(flow)
        world.drop(flow, result)


def kill_at(
    flow: Flow, shape: Shape, point: str, luck: random.Random, *,
    most: int = 12, patience: float = GIVE_UP,
) -> str:  # fmt: skip
    """Start a flow that is killed when it passes a point, for the `most`-th time or earlier.

    Tells how it ended; `patience` is in seconds from when it has begun to read.
    """
    flow.start(shape, point=f"{point}:{luck.randint(1, most)}", pace=luck.choice(_PACES))
    flow.wait_started()
    codes = flow.wait(patience)
    if codes is None:
        flow.kill()
        return NOT_PASSED if patience < GIVE_UP else f"still running: {flow.said()}"
    return _ended(flow, codes)


def kill_some_time(flow: Flow, shape: Shape, luck: random.Random) -> str:
    """Start a flow and kill it, or one of its processes; tells how it ended."""
    flow.start(shape, pace=luck.choice(_PACES))
    if luck.random() < 0.1:
        time.sleep(luck.uniform(0.2, 2.0))  # while it starts
    elif flow.wait_started():
        time.sleep(luck.uniform(0.0, 1.2))
    if not flow.running():
        codes = flow.wait(GIVE_UP)
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
    """SIGTERM, to one after the other: all end within 10 s, and nothing is replayed."""
    luck = world.luck
    while result.times < times and not result.problems:
        flow = world.flow("sigterm")
        with tended(world, flow, result):
            for _ in range(min(4, times - result.times)):
                # Of five threads one has no partition to read.
                processes, threads = luck.choice([(1, 1), (1, 5), (2, 1)])
                shape = Shape(processes, threads, luck.choice([20, 50]), 1.0)
                flow.start(shape, pace="0.05")
                if not flow.wait_started():
                    break
                time.sleep(luck.uniform(0.2, 2.5))
                if not flow.running():
                    break
                flow.terminate(pause=luck.uniform(0, 1.5))
                began = time.monotonic()
                codes = flow.wait(20)
                took = time.monotonic() - began
                if codes is None or any(codes) or took > 10:
                    flow.kill()
                    result.problems.append(
                        f"{shape}: {codes} after {took:.1f} s: {flow.said()}"
                    )
                    break
                result.times += 1
                result.longest = max(result.longest, took)
        if not result.problems and world.finish(flow, result):
            if flow.notes.fenced:
                result.problems.append(
                    f"{flow.notes.fenced} rows were replayed after a shutdown"
                )
            world.compare(flow, result)
        world.drop(flow, result)
    result.said.append(f"longest {result.longest:.1f} s")


def two_copies(world: World, result: Result, times: int) -> None:
    """Two copies on the same tables: one stops with a clear error, the tables stay exact."""
    luck = world.luck
    pace = 0.15
    while result.times < times and not result.problems:
        flow = world.flow("copies")
        other = Flow(flow.folder / "other", flow.environ)
        shared = luck.random() < 0.5
        if shared:
            other.state = flow.state
        shape = Shape(1, 1, 20, 0.2)
        flow.start(shape, pace=str(pace))
        flow.wait_started()
        time.sleep(luck.uniform(0.0, 1.0))
        with tended(world, flow, result):
            other.start(shape, pace=str(pace))
            deadline = time.monotonic() + 60
            while flow.running() and other.running() and time.monotonic() < deadline:
                time.sleep(0.02)
        loser, winner = (other, flow) if not other.running() else (flow, other)
        codes = loser.wait(10)
        if codes == [0] and pace < 2:
            # A slow machine: the one was done before the other had begun to write.
            pace *= 2
            loser.kill()
            winner.kill()
            continue
        clear = ("another copy", "is in use")
        if not codes or not any(codes) or not any(text in loser.said(40) for text in clear):
            result.problems.append(f"the loser ended with {codes}: {loser.said(40)}")
        result.times += 1
        count(result, "same recovery store" if shared else "own recovery store")
        codes = winner.wait(GIVE_UP)
        winner.notes.update()
        had = winner.notes.commits
        if codes is None:
            # Slow, if it commits; alone and at once it is then done.
            time.sleep(20)
            winner.notes.update()
            if winner.notes.commits == had:
                result.problems.append(f"the winner stands still: {winner.said(40)}")
        if codes != [0] and not result.problems:
            # The winner met the loser's last commit; alone it goes on.
            count(result, "slow" if codes is None else "both stopped")
            winner.kill()
            world.finish(winner, result, shape)
        if not result.problems:
            # Two live copies both send alerts: only the tables are promised.
            world.compare(winner, result, topics=False)
        loser.kill()
        winner.kill()
        world.drop(flow, result)
