"""A key group: the panes of some keys of all partitions, and the events that wait for them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import polars as pl

from operators.columns.arrays import Int64s
from operators.columns.frames import filtered, stacked
from operators.event_time.watermarks import FlowWatermark
from operators.features.by_another.label_log import LabelLog
from operators.features.by_another.label_rows import LABELLED, places
from operators.features.by_another.panes import VALUE, Panes
from operators.features.by_another.requests import ASKED, ASKS, BASE, EVENT, FRESH, LAG, MARK
from operators.features.by_another.spec import (
    Kept,
    Question,
    Span,
    as_stated,
    ask,
    ask_labels,
)
from operators.features.compiled import Part
from operators.features.keeps import StateLacksFeaturesError
from operators.records.batches import NO_WATERMARK, Progress
from operators.state.event_time_buffer import HASH, OFFSET, PARTITION, TIME_US, EventTimeBuffer
from operators.state.folds import NONE, is_sum, summands, turned
from operators.state.shards import Composite, Rows, Sharded


@dataclass(frozen=True, slots=True)
class Answer:
    """What a question's panes say to events: a frame with PARTITION, OFFSET, MARK and columns."""

    question: int
    rows: pl.DataFrame


class KeyGroup(Composite):
    """Counts the events of all partitions by pane, and answers when the panes are closed.

    An event counts in its pane unless its partition's watermark before it has reached the pane's
    end. Where a partition slept, the flow's watermark went on without it: an event that wakes it
    up is judged by that, its `mark` then. What is asked for up to a time is answered when the
    flow's watermark has reached it: then no event counts any more. So answers are a function of
    the events and their marks. With all partitions idle the flow's watermark goes on to the
    largest of theirs, as nothing is to be waited for.

    Labels have a topic beside, whose partitions' watermarks are waited for as well. A label counts
    from its time on, or from its `mark` if that is later: what was answered by then stays as it
    was. See `LabelJudge`.
    """

    VERSION: ClassVar[int] = 1

    def __init__(
        self, questions: Sequence[Question], longest_lag: int, labels: str | None = None
    ) -> None:
        """`longest_lag` is the longest default lag that has counted, in µs.

        `labels` is their topic, which has to be another; None where no question is of them.
        """
        self._questions, self._longest_lag = tuple(questions), longest_lag
        self._topic = labels
        self.labels = None if labels is None else FlowWatermark()
        self.flow = FlowWatermark(flushed=True)
        self._passed = NO_WATERMARK
        self._waiting = [EventTimeBuffer() for _ in questions]
        self._panes: list[dict[Kept, Panes]] = [
            {}
            if each.of_labels
            else {k: Panes(k.pane, _folds(k, parts)) for k, parts in each.keeps.items()}
            for each in questions
        ]
        self._logs = {
            number: LabelLog([lane.name for lane in each.lanes])
            for number, each in enumerate(questions)
            if each.of_labels
        }

    @property
    def rows(self) -> int:
        """How many events and panes are kept."""
        panes = sum(len(panes) for each in self._panes for panes in each.values())
        labels = sum(map(len, self._logs.values()))
        return panes + labels + sum(map(len, self._waiting))

    @property
    def members(self) -> Mapping[str, Sharded]:
        """What has rows."""
        found: dict[str, Sharded] = {}
        for number, (question, waiting, panes) in enumerate(
            zip(self._questions, self._waiting, self._panes, strict=True)
        ):
            by = ", ".join(question.by) + (" from labels" if question.of_labels else "")
            found[f"waiting by {by}"] = waiting
            found |= {f"{kept.name} by {by}": each for kept, each in panes.items()}
            if number in self._logs:
                found[f"labels by {by}"] = self._logs[number]
        return found

    def advance(
        self,
        progress: Sequence[Progress],
        rows: Mapping[int, pl.DataFrame],
        labels: Mapping[int, pl.DataFrame] | None = None,
    ) -> list[Answer]:
        """Take the partitions' progress and the rows of questions; return what is known now.

        `labels` are rows of these by the questions that are from them.
        """
        for each in progress:
            beside = self.labels is not None and each.topic == self._topic
            (self.labels if self.labels and beside else self.flow).observe(each)
        for number, mine in (labels or {}).items():
            self._take_labels(number, mine)
        current = self._passed = max(self._current, self._passed)
        answers = []
        for number, waiting in enumerate(self._waiting):
            due = [waiting.take(current + 1, in_order=False)] if len(waiting) else []
            if number in rows:
                asked = self._take(number, rows[number])
                known = asked[TIME_US].to_numpy() <= current
                if not known.all():
                    waiting.add(filtered(asked, pl.Series(~known)))
                    asked = filtered(asked, pl.Series(known))
                due.append(asked)
            for panes in self._panes[number].values():
                panes.close(current)
            some = [frame for frame in due if frame is not None and frame.height]
            if some:
                answers.append(Answer(number, self._answer(number, stacked(some))))
            if current != NO_WATERMARK:
                self._forget(number, current)
        return answers

    @property
    def _current(self) -> int:
        if self.labels is None:
            return self.flow.current
        return min(self.flow.current, self.labels.current)

    def _take_labels(self, number: int, rows: pl.DataFrame) -> None:
        """Let labels count from their times on, or from their marks."""
        since = np.maximum(rows[EVENT].to_numpy(), rows[MARK].to_numpy())
        lanes = [lane.name for lane in self._questions[number].lanes]
        self._logs[number].add(
            rows[HASH].to_numpy(),
            rows[LABELLED].to_numpy(),
            since,
            places(rows),
            {name: rows[name].to_numpy() for name in lanes},
        )

    def _forget(self, number: int, watermark: int) -> None:
        """Forget what nobody asks for who still waits, or is of a partition at the watermark."""
        if number in self._logs:
            every = self._questions[number].spans
            oldest = min(span.oldest(watermark, self._longest_lag) for span in every)
            self._logs[number].forget(oldest)
        for kept, panes in self._panes[number].items():
            spans = self._questions[number].kept_for(kept)
            panes.forget(min(span.oldest(watermark, self._longest_lag) for span in spans))

    def _take(self, number: int, rows: pl.DataFrame) -> pl.DataFrame:
        """Count events in their panes; return what is asked for them."""
        marks = self._marks(rows)
        keys, times = rows[HASH].to_numpy(), rows[EVENT].to_numpy()
        starts_of: dict[int, Int64s] = {}
        for kept, panes in self._panes[number].items():
            if kept.pane not in starts_of:
                starts_of[kept.pane] = times // kept.pane * kept.pane
            starts = starts_of[kept.pane]
            counts = starts + kept.pane > marks
            if kept.values is None:
                parts = self._questions[number].keeps[kept]
                columns = {}
                for name, part in parts.items():
                    values = rows[part.lane.name].to_numpy()
                    if is_sum(part.fold):
                        values = summands(values, part.fold)
                    columns[name] = turned(values) if part.fold == "min" else values
            else:
                columns = {VALUE: rows[kept.values.name].to_numpy()}
                counts &= columns[VALUE] != NONE
            if counts.all():
                panes.add(keys, starts, columns)
                continue
            some = np.flatnonzero(counts)
            columns = {name: values[some] for name, values in columns.items()}
            panes.add(keys[some], starts[some], columns)
        asked = pl.DataFrame([*(rows[name] for name in ASKED[:-1]), pl.Series(MARK, marks)])
        asks = rows[ASKS]
        return asked if asks.all() else filtered(asked, asks)

    def _marks(self, rows: pl.DataFrame) -> Int64s:
        """Return by which watermark each event is judged, in µs."""
        marks: Int64s = rows[MARK].to_numpy()
        if not self.flow.floors:
            return marks
        floors = np.full(rows.height, NO_WATERMARK)
        partitions = rows[PARTITION].to_numpy()
        for partition, floor in self.flow.floors.items():
            floors[partitions == partition] = floor
        return np.where(rows[FRESH].to_numpy(), np.maximum(marks, floors), marks)

    def _answer(self, number: int, asked: pl.DataFrame) -> pl.DataFrame:
        question = self._questions[number]
        keys, base, lags, marks = (asked[name].to_numpy() for name in (HASH, BASE, LAG, MARK))
        names = question.answers
        ends = question.ends(base, lags)
        begins = {span: span.begin(ends[span], lags, marks) for span in question.spans}
        made: dict[tuple[Span, Part], Int64s] = {}
        if question.of_labels:
            asks = [
                ask_labels(part, at)
                for at, kept in enumerate(question.spans.values())
                for parts in kept.values()
                for part in parts
            ]
            log, spans = self._logs[number], [*question.spans]
            every = log.ask(asks, keys, [begins[s] for s in spans], [ends[s] for s in spans])
            made = dict(zip(names, every, strict=True))
        else:
            for span, kept in question.spans.items():
                for each, parts in kept.items():
                    panes = self._panes[number][each]
                    some = panes.ask([*map(ask, parts)], keys, begins[span], ends[span])
                    made |= {(span, p): v for p, v in zip(parts, some, strict=True)}
        found = [pl.Series(name, made[pair]) for pair, name in names.items()]
        return pl.DataFrame([*(asked[name] for name in (PARTITION, OFFSET, MARK)), *found])

    def head(self) -> dict[str, Any]:
        """Return what is no row, for recovery; freezes the flow's watermark."""
        own = {"passed": self._passed, "features": self._stated, "flow": self.flow.freeze()}
        if self.labels is not None:
            own["labels"] = self.labels.freeze()
        return super().head() | own

    @property
    def _stated(self) -> dict[str, str]:
        return {
            each.feature.name: as_stated(each.feature)
            for question in self._questions
            for each in question.features
        }

    def load(self, head: Mapping[str, Any], found: Sequence[Rows]) -> None:
        """Take up what was given before; raises StateLacksFeaturesError if it is not enough."""
        there = head["features"]
        lacking = [name for name, text in self._stated.items() if there.get(name) != text]
        if lacking:
            raise StateLacksFeaturesError(lacking)
        super().load(head, found)
        self._passed = head["passed"]
        self.flow = FlowWatermark.thaw(head["flow"], flushed=True)
        if self.labels is not None:
            self.labels = FlowWatermark.thaw(head["labels"])
        # What was answered may be in an old entry. Nothing else is as early: see `advance`.
        for waiting in self._waiting:
            waiting.take(self._passed + 1, in_order=False)


def _folds(kept: Kept, parts: Mapping[str, Any]) -> dict[str, np.ufunc]:
    if kept.values is not None:
        return {VALUE: np.maximum}
    return {
        name: np.maximum if part.fold in ("min", "max") else np.add
        for name, part in parts.items()
    }
