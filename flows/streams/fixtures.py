"""Fixtures: what the cases of a stream's rules are played with."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

import schemas
from flows.streams.labelling import labels_of_events
from operators.columns.frames import stacked
from operators.features import WholeFeatures
from operators.records.tables import TIME
from operators.rules.cases import Fixture, Known, example_of

if TYPE_CHECKING:
    from flows.streams.stream import Stream

_BOUND: Final = 30_000_000
"""The out-of-orderness that cases are played with, in µs."""


def fixture_of(stream: "Stream") -> Fixture:
    """Return what the cases of the stream's rules are played with."""
    example = example_of(schemas.latest(stream.record), {stream.id, "event_time"})
    return Fixture(
        stream.record,
        stream.id,
        stream.key,
        example | dict(stream.example),
        partial(_scored, stream),
        unknown=stream.noted,
        lists=bool(stream.listing),
        labelled=stream.labelled is not None,
    )


def _scored(stream: "Stream", known: Sequence[Known]) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """Return what adds to events all that a flow adds, but for what lists they are on."""
    added, model = _features(stream, known), stream.model
    if model is None:
        return added

    def add(frame: pl.DataFrame) -> pl.DataFrame:
        frame = added(frame)
        return frame.hstack([model.answer(frame)[0]])

    return add


def _features(
    stream: "Stream", known: Sequence[Known]
) -> Callable[[pl.DataFrame], pl.DataFrame]:
    features = stream.features
    if not features:
        return lambda frame: frame.with_columns(watermark=pl.lit(None, TIME))
    if not features.questions:
        return features.make(_BOUND).advance
    whole = WholeFeatures(features, _BOUND, 1, stream.featured)

    def add(frame: pl.DataFrame) -> pl.DataFrame:
        if known and stream.labelled is not None:
            verdicts = [each.verdict for each in known]
            since = np.array([each.since for each in known])
            some = frame[[each.offset for each in known]]
            rows = labels_of_events(stream.labelled, some, since, verdicts, "case")
            whole.add_labels(0, 1, rows)
        return stacked(made for _, made in [*whole.advance(0, frame), *whole.end()])

    return add
