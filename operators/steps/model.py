"""A model's score, as a column of each event."""

import logging
from typing import Final

import bytewax.operators as op
from bytewax.dataflow import Stream, operator

from operators import metrics
from operators.model import Model
from operators.records.batches import Batch, merge, split

LOG: Final = logging.getLogger("millstream.model")


@operator
def score(step_id: str, up: Stream[Batch], model: Model) -> Stream[Batch]:
    """Add `model_score` to each event; where the model fails it is null, and rules go on."""
    name = f"{model.card.name}@{model.card.version}"
    outcomes = {each: metrics.MODEL_SCORES.labels(name, each) for each in ("scored", "none")}
    failures = metrics.MODEL_FAILURES.labels(name)
    open_ = metrics.MODEL_OPEN.labels(name)
    open_.set(0)

    def shim(batches: list[Batch]) -> list[Batch]:
        frame = merge(batches)
        tries, was_open = model.breaker.allows(), model.breaker.open
        scores = model.score(frame)
        missing = scores.null_count()
        outcomes["scored"].inc(frame.height - missing)
        outcomes["none"].inc(missing)
        if tries and frame.height and model.why is not None:
            failures.inc()
        if model.breaker.open != was_open:
            open_.set(model.breaker.open)
            if was_open:
                LOG.warning("model %s answers again", name)
            else:
                LOG.warning(
                    "model %s is left alone for a while (%s); rules go on", name, model.why
                )
        return split(batches, frame.hstack([scores]))

    return op.flat_map_batch("score", up, shim)
