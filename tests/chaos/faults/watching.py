"""What several faults do: count, and restart a flow until it has ended."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from flows.streams import Stream
from tests.chaos.flow import Flow, Shape
from tests.chaos.maintenance import Maintenance
from tests.chaos.world import Result, World

GIVE_UP: Final = 180.0
"""Seconds without an end after which a flow is taken to hang."""


def count(result: Result, what: str, n: int = 1) -> None:
    result.detail[what] += n


def until_done(
    world: World, flow: Flow, result: Result, shape: Shape, restarts: int = 10, **chaos: str
) -> None:
    """Wait for the end, restarting the flow as a supervisor would; then compare."""
    with tended(world, flow, result):
        for _ in range(restarts):
            codes = flow.wait(GIVE_UP)
            if codes is not None and not any(codes):
                break
            flow.kill()
            if codes is None:
                break
            count(result, "restarts")
            flow.start(shape, **chaos)
    if codes is None or any(codes):
        result.problems.append(f"never ended well: {flow.said()}")
        return
    world.compare(flow, result)
    world.drop(flow, result)


@contextmanager
def tended(
    world: World, flow: Flow, result: Result, stream: Stream | None = None
) -> Iterator[None]:
    """Compact, vacuum and checkpoint tables meanwhile, of the world's stream or another."""
    root = flow.environ["MILLSTREAM_DELTA_ROOT"]
    with Maintenance(stream or world.stream, root, world.luck.randrange(2**31)) as upkeep:
        yield
    count(result, "maintenance", sum(upkeep.done.values()))
