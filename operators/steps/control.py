"""Control: events wait for the changes that hold for them, and are looked up in lists."""

from collections.abc import Sequence
from typing import Protocol

import bytewax.operators as op
from bytewax.dataflow import Stream, operator

from operators.control.state import State, times_of
from operators.records.batches import Batch, merge, split


class Control(Protocol):
    """What is known of a control topic; threads may share it."""

    state: State

    def wait(self, until: int) -> None:
        """Wait until all is known that holds at a Kafka time, in µs."""
        ...


@operator
def controlled(
    step_id: str, up: Stream[Batch], control: Control, columns: Sequence[str]
) -> Stream[Batch]:
    """Let events go on once what holds for them is known, with what lists they are on.

    Looked up are values of the `columns`, if there are any.
    """

    def shim(batches: list[Batch]) -> list[Batch]:
        events = merge(batches)
        if events.height:
            control.wait(int(times_of(events).max()))
        if not columns:
            return batches
        # What is known by now may be more, of times that are still to come.
        return split(batches, events.hstack([control.state.listed(events, columns)]))

    return op.flat_map_batch("hold", up, shim)
