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


def check_scores(
    stream: Stream, why: str, told: History, topic: str, silver: pl.DataFrame
) -> Check:
    """Compare every score in silver with what the model makes of its row, to the last bit.

    Silver has `told` by which model each row was scored. Those are not compared whose model is
    another than the stream's, or cannot be asked, which is `why`. Nor are rows without a score:
    their batch had no answer when it came, and decisions say so.
    """
    texts: list[str | None] = [None]
    by = np.zeros(silver.height, np.int64)
    for each in told.get(own_column(SCORE), ()):
        by[behind(silver, each.written_of(topic))] = len(texts)
        texts.append(each.text)
    model = stream.model
    known = [n for n, text in enumerate(texts) if model and text == model.card.definition]
    asked = [n for n, text in enumerate(texts) if text is not None]
    scored = silver[SCORE].is_not_null().to_numpy()
    comparable = scored & np.isin(by, known)
    others = Counter(by[scored & ~comparable].tolist())
    unanswered = int(np.count_nonzero(~scored & np.isin(by, asked)))
    reason = f": {why}" if model is None else f", not by {model.card.file}"
    said = [
        f"{count:,} scored by {file_of(texts[n] or _UNNAMED)}{reason}"
        for n, count in others.items()
    ]
    said += [f"{unanswered:,} without a score, as the model had no answer"] * bool(unanswered)
    rows = silver.filter(pl.Series(comparable))
    made = _made_anew(model, rows)
    offending = rows.filter(pl.Series(~alike(rows[SCORE], made), dtype=pl.Boolean()))
    return Check.of(
        f"{stream.silver.name}' scores are what its model makes of their rows",
        rows.height,
        offending.select(*PLACE, stored=SCORE, made=_made_anew(model, offending)),
        sum(others.values()) + unanswered,
        "; ".join(said),
    )


def _made_anew(model: Model | None, rows: pl.DataFrame) -> pl.Series:
    parts = [model.answer(each)[0] for each in rows.iter_slices(_AT_ONCE)] if model else []
    return pl.concat([rows[SCORE].clear(), *parts])
