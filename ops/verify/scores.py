"""The scores of a model, made anew of silver's rows by the file that made them."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from flows.settings import Settings, prefix_of
from flows.streams import STREAMS, Stream
from flows.streams.models import with_model
from flows.tables import own_column
from operators.columns.frames import alike
from operators.connectors.delta.definitions import History, history
from operators.features import FeatureError
from operators.model import SCORE, Model, file_of
from ops.verify.report import Check
from ops.verify.statuses import behind
from ops.verify.tables import Tables
from ops.verify.topics import PLACE

_AT_ONCE: Final = 100_000
_UNNAMED: Final = "a model that silver does not name"


def without_lost_models(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without the models whose files are not there."""
    lost = {
        name
        for each in STREAMS
        if (name := f"{prefix_of(each)}MODEL") in environ and not Path(environ[name]).is_file()
    }
    return {name: value for name, value in environ.items() if name not in lost}


def as_scored(settings: Settings, declared: Stream, tables: Tables) -> tuple[Stream, str]:
    """Return a stream as it is set, and why its model cannot be asked, "" if it can.

    Its silver may have scores all the same. Raises FeatureError for a feature that is none.
    """
    stream, path = _unscored(settings, declared), settings.of(declared).model
    if path is None:
        name = stream.silver.name
        told = history(tables.handle(name)) if tables.there(name) else None
        why = f"{prefix_of(declared)}MODEL names no file that is there"
        return replace(stream, scored=own_column(SCORE) in (told or {})), why
    try:
        return with_model(stream, path), ""
    except FeatureError as error:
        return replace(stream, scored=True), "; ".join(str(error).splitlines())


def _unscored(settings: Settings, declared: Stream) -> Stream:
    """Return a stream as it is set, but for its model."""
    own = settings.of(declared).model_copy(update={"model": None})
    if not isinstance(own, Settings):
        others = settings.streams | {declared.name: own}
        own = settings.model_copy(update={"streams": others})
    return own.stream(declared)


class Scores:
    """Compares every score in silver with what the model makes of its row, to the last bit.

    Those are not compared whose model is another than the stream's, or cannot be asked. Nor are
    rows without a score: their batch had no answer when it came, and decisions say so.
    """

    def __init__(self, stream: Stream, why: str, told: History, topic: str) -> None:
        """Silver has `told` by which model each row was scored; `why` is why it cannot be asked."""
        self._stream, self._why, self._topic = stream, why, topic
        self._told = told.get(own_column(SCORE), ())
        self._texts: list[str | None] = [None, *(each.text for each in self._told)]
        self._others: Counter[int] = Counter()
        self._compared = self._unanswered = 0
        self._offending: list[pl.DataFrame] = []

    def add(self, silver: pl.DataFrame) -> None:
        """Take some of silver's rows."""
        by = np.zeros(silver.height, np.int64)
        for number, each in enumerate(self._told, 1):
            by[behind(silver, each.written_of(self._topic))] = number
        model = self._stream.model
        texts = self._texts
        known = [n for n, text in enumerate(texts) if model and text == model.card.definition]
        asked = [n for n, text in enumerate(texts) if text is not None]
        scored = silver[SCORE].is_not_null().to_numpy()
        comparable = scored & np.isin(by, known)
        self._others.update(by[scored & ~comparable].tolist())
        self._unanswered += int(np.count_nonzero(~scored & np.isin(by, asked)))
        rows = silver.filter(pl.Series(comparable, dtype=pl.Boolean()))
        self._compared += rows.height
        made = _made_anew(model, rows)
        wrong = rows.filter(pl.Series(~alike(rows[SCORE], made), dtype=pl.Boolean()))
        self._offending.append(
            wrong.select(*PLACE, stored=SCORE, made=_made_anew(model, wrong))
        )

    def check(self) -> Check:
        """Return what was found."""
        model = self._stream.model
        reason = f": {self._why}" if model is None else f", not by {model.card.file}"
        said = [
            f"{count:,} scored by {file_of(self._texts[n] or _UNNAMED)}{reason}"
            for n, count in sorted(self._others.items())
        ]
        missing = f"{self._unanswered:,} without a score, as the model had no answer"
        said += [missing] * bool(self._unanswered)
        return Check.of(
            f"{self._stream.silver.name}' scores are what its model makes of their rows",
            self._compared,
            pl.concat(self._offending),
            sum(self._others.values()) + self._unanswered,
            "; ".join(said),
        )


def _made_anew(model: Model | None, rows: pl.DataFrame) -> pl.Series:
    parts = [model.answer(each)[0] for each in rows.iter_slices(_AT_ONCE)] if model else []
    return pl.concat([rows[SCORE].clear(), *parts])
