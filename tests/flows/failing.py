"""``python -m tests.flows.failing KIND WHERE ...`` runs a flow on Bytewax that fails there.

The rest of the arguments are Bytewax's.
"""

import argparse
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from bytewax.recovery import RecoveryConfig
from bytewax.run import cli_main

from flows import ending
from operators.errors import KnownError

KIND, WHERE = sys.argv[1:3]


def fail(where: str) -> None:
    if where == WHERE:
        raise (
            KnownError("mend\nthe world")
            if KIND == "known"
            else ValueError("a mistake of ours")
        )


class Numbers(StatefulSourcePartition[int, int]):
    def __init__(self) -> None:
        self.next = 0

    def next_batch(self) -> list[int]:
        time.sleep(0.01)
        self.next += 1
        if self.next == 30:
            fail("next_batch")
        return [self.next]

    def snapshot(self) -> int:
        return self.next


class Source(FixedPartitionedSource[int, int]):
    def list_parts(self) -> list[str]:
        # Bytewax builds the flow once all processes are connected.
        print("connected", flush=True)
        return ["0", "1"]

    def build_part(self, step_id: str, for_part: str, resume_state: Any) -> Numbers:
        if for_part == "0":
            fail("source")
        return Numbers()


class Part(StatefulSinkPartition[int, int]):
    def write_batch(self, values: list[int]) -> None:
        pass

    def snapshot(self) -> int:
        fail("snapshot")
        return 0


class Sink(FixedPartitionedSink[int, int]):
    def list_parts(self) -> list[str]:
        return ["0", "1"]

    def build_part(self, step_id: str, for_part: str, resume_state: Any) -> Part:
        if for_part == "0":
            fail("sink")
        return Part()


def step(number: int) -> tuple[str, int]:
    if number == 30:
        fail("step")
    return str(number % 2), number


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("-r", type=Path)
    parser.add_argument("-w", type=int, default=1)
    parser.add_argument("-i", type=int)
    parser.add_argument("-a")
    args = parser.parse_args(sys.argv[3:])
    flow = Dataflow("failing")
    op.output("out", op.map("step", op.input("in", flow, Source()), step), Sink())
    ending.install()
    cli_main(
        flow, workers_per_process=args.w, process_id=args.i,
        addresses=args.a.split(";") if args.a else None, epoch_interval=timedelta(seconds=0.2),
        recovery_config=RecoveryConfig(args.r, timedelta(0)) if args.r else None,
    )  # fmt: skip


if __name__ == "__main__":
    main()
