"""Faults of what is stored: writes refused, tables or the recovery store lost."""

import errno
import os
import shutil
import time
from contextlib import nullcontext

from deltalake import DeltaTable

from operators.connectors.delta.table import table_uri
from tests.chaos.faults.watching import GIVE_UP, count, tended, until_done
from tests.chaos.flow import Flow, Shape
from tests.chaos.world import Result, World
from tests.servers import s3 as s3_server


def _version(table: str) -> int:
    return DeltaTable(table).version() if DeltaTable.is_deltatable(table) else -1


def disk(world: World, result: Result, times: int) -> None:
    """Writes refused by the disk, before or after they landed: full, or no permission."""
    luck = world.luck
    while result.times < times and not result.problems:
        flow = world.flow("disk")
        code = luck.choice([errno.ENOSPC, errno.EACCES, errno.EIO])
        shape = Shape(luck.choice([1, 2]), 1, 200, 0.1)
        chaos = {"oserror": f"{code}:{luck.choice([0.1, 0.3])}:{luck.randrange(2**31)}"}
        flow.start(shape, **chaos)
        until_done(world, flow, result, shape, restarts=30, **chaos)
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
                with tended(world, flow, result):
                    for _ in range(30):
                        codes = flow.wait(GIVE_UP)
                        if codes is None or not any(codes):
                            break
                        count(result, "restarts")
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

        stream = world.stream
        windows = stream.window_table(next(iter(stream.windows)))
        name = luck.choice([stream.bronze, stream.silver, windows]).name
        table = table_uri(flow.environ["MILLSTREAM_DELTA_ROOT"], name)

        def go_on(
            seconds: float, flow: Flow = flow, shape: Shape = shape, table: str = table,
            case: str = case,
        ) -> int:  # fmt: skip
            """Run for some time, until the table has more; return its version."""
            before = _version(table)
            flow.start(shape, pace="0.02")
            flow.wait_started()
            # A vacuum leaves nothing to restore a table from.
            with nullcontext() if case == "table restored" else tended(world, flow, result):
                time.sleep(seconds)
                deadline = time.monotonic() + GIVE_UP
                while flow.running() and _version(table) <= max(before, 0):
                    if time.monotonic() > deadline:
                        result.problems.append(f"{case}: stands still: {flow.said(40)}")
                        break
                    time.sleep(0.1)
            flow.kill()
            return _version(table)

        version = go_on(luck.uniform(1.0, 1.5))
        earlier = flow.folder / "earlier"
        shutil.copytree(flow.state, earlier)
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
            codes = flow.wait(GIVE_UP)
            clear = f"millstream: table {name} " in flow.said(40)
            if not codes or not any(codes) or not clear:
                result.problems.append(f"{case} {name}: not refused: {codes} {flow.said(30)}")
            flow.kill()
            count(result, f"{case}: refused")
            if case == "table restored" and not result.problems:
                # What the message says to do.
                shutil.rmtree(flow.state)
                shutil.rmtree(table)
            elif not result.problems:
                shutil.rmtree(flow.state)
        if not result.problems and world.finish(flow, result):
            world.compare(flow, result)
            count(result, f"{case}: exact")
        result.times += 1
        world.drop(flow, result)
