"""Assembly: a partition's batches, held until all that was asked for their events is answered."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import polars as pl

from operators.columns.frames import filtered, stacked, taken
from operators.columns.ipc import from_ipc, to_ipc, types_to_ipc
from operators.columns.times import in_micros
from operators.features.by_another.group import Answer
from operators.features.by_another.requests import MARK, WOKEN
from operators.features.by_another.spec import Question, span_of
from operators.features.lanes import nullable
from operators.records.batches import NO_WATERMARK, Batch, Progress
from operators.records.tables import TIME
from operators.state.event_time_buffer import OFFSET

STATE_VERSION: Final = 1


@dataclass(frozen=True)
class Aside:
    """Rows of a partition that are for a table as they are: they go when their batch goes."""

    table: str
    rows: pl.DataFrame


class Assembly:
    """Holds what comes of a partition, in the order of offsets, until it may go on.

    All of it goes on together, what else came of the same records as well: who is told that
    records are accounted for has them. A batch that says that more has closed begins an epoch of
    its own here too, as it does at the source: what is judged by it is all that an epoch brings.
    """

    def __init__(
        self, questions: Sequence[Question], columns: Mapping[str, pl.DataType]
    ) -> None:
        """`columns` are those that events have in the end, in order."""
        self._questions, self._columns = tuple(questions), dict(columns)
        self._held: deque[Batch] = deque()
        self._answers: list[list[pl.DataFrame]] = [[] for _ in questions]
        self._aside: dict[str, list[pl.DataFrame]] = {}
        self._released = -1
        self._closed, self._spoke = NO_WATERMARK, False

    @property
    def rows(self) -> int:
        """How many events are held."""
        return sum(map(len, self._held))

    def add(self, item: Batch | Answer | Aside) -> None:
        """Take what has come."""
        if isinstance(item, Batch):
            self._held.append(item)
        elif isinstance(item, Answer):
            self._answers[item.question].append(item.rows)
        else:
            self._aside.setdefault(item.table, []).append(item.rows)

    def release(self) -> list[Batch | Aside]:
        """Return what may go on now."""
        found: list[Batch | Aside] = []
        while self._held:
            if self._spoke and self._held[0].progress.closed > self._closed:
                break
            answers = self._complete(self._held[0])
            if answers is None:
                break
            batch = self._held.popleft()
            self._closed, self._spoke = max(batch.progress.closed, self._closed), True
            self._released = max(batch.progress.offset, self._released)
            found.append(Batch(batch.progress, self._with_answers(batch.frame, answers)))
        for table in list(self._aside):
            rows = stacked(self._aside.pop(table))
            late = rows["source_offset"].to_numpy() > self._released
            if late.any():
                self._aside[table] = [filtered(rows, pl.Series(late))]
                rows = filtered(rows, pl.Series(~late))
            if rows.height:
                found.append(Aside(table, rows))
        return found

    def _complete(self, batch: Batch) -> list[pl.DataFrame] | None:
        """Take the answers for a batch's events by question, [] for none; None: some lack."""
        size = batch.frame.height
        if size == 0 or batch.progress.past:
            return []
        if any(sum(f.height for f in frames) < size for frames in self._answers):
            return None
        found = []
        for number, frames in enumerate(self._answers):
            rows = stacked(frames)
            offsets = rows[OFFSET].to_numpy()
            if (offsets[1:] < offsets[:-1]).any():
                rows = taken(rows, np.argsort(offsets))
                offsets = rows[OFFSET].to_numpy()
            self._answers[number] = [rows]
            last = batch.frame["source_offset"][-1]
            if int(np.searchsorted(offsets, last, "right")) < size:
                return None
            found.append(rows)
        for number, rows in enumerate(found):
            rest = rows.slice(size)
            self._answers[number] = [rest] if rest.height else []
        return [rows.head(size) for rows in found]

    def _with_answers(self, frame: pl.DataFrame, answers: list[pl.DataFrame]) -> pl.DataFrame:
        """Return events with WOKEN and a column for each feature; nulls for those of the past."""
        made: dict[str, pl.Series] = {}
        if answers:
            marks = answers[0][MARK].to_numpy()
            slept = marks > in_micros(frame["watermark"])
            made[WOKEN] = nullable(WOKEN, marks, ~slept).cast(TIME)
        elif WOKEN not in frame.columns:
            made[WOKEN] = pl.Series(WOKEN, [None] * frame.height, TIME)
        for number, question in enumerate(self._questions):
            names = question.answers
            for each in question.features:
                name = each.feature.name
                if not answers:
                    made[name] = pl.Series(name, [None] * frame.height, each.dtype)
                    continue
                span = span_of(each.feature)
                found = {
                    part: answers[number][names[span, part]].to_numpy() for part in each.parts
                }
                made[name] = each.finish(found, {}, in_micros(frame["event_time"]))
        there = {column.name: column for column in frame.get_columns()} | made
        # What was held while another release was at work lacks what is new since.
        return pl.DataFrame(
            [
                there[name] if name in there else pl.Series(name, [None] * frame.height, dtype)
                for name, dtype in self._columns.items()
            ]
        )

    def dump(self) -> dict[str, Any]:
        """Return the state as builtins, for recovery, at an epoch's end."""
        self._spoke = False
        return {
            "version": STATE_VERSION,
            "released": self._released,
            "closed": self._closed,
            "held": [(asdict(each.progress), _written(each.frame)) for each in self._held],
            "answers": [to_ipc(*frames) for frames in self._answers],
            "aside": {table: to_ipc(*frames) for table, frames in self._aside.items()},
        }

    @classmethod
    def load(
        cls,
        questions: Sequence[Question],
        columns: Mapping[str, pl.DataType],
        state: Mapping[str, Any],
    ) -> "Assembly":
        """Resume a dumped state; raises ValueError for one of an unknown version."""
        if state["version"] != STATE_VERSION:
            raise ValueError(f"held batches of state version {state['version']}")
        made = cls(questions, columns)
        made._released = state["released"]
        made._closed = state.get("closed", NO_WATERMARK)
        made._held.extend(
            Batch(Progress(**progress), from_ipc(frame)) for progress, frame in state["held"]
        )
        made._answers = [[from_ipc(each)] if each else [] for each in state["answers"]]
        made._aside = {
            table: [from_ipc(each)] for table, each in state["aside"].items() if each
        }
        return made


def _written(frame: pl.DataFrame) -> bytes:
    return to_ipc(frame) or types_to_ipc(frame)
