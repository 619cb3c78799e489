"""A model: scores of events by an ONNX file, the same whatever the batches."""

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl
from polars.exceptions import PolarsError

from operators.columns.expressions import select_rows
from operators.model.breaker import Breaker
from operators.model.card import SCORE, ModelCard, ModelError, read_card

SLOW_S: Final = 0.25
SLOW_US: Final = 50.0
"""A batch is slow that takes longer than this, and so long for each event."""

Matrix = npt.NDArray[np.float32]


class Session(Protocol):
    """What works a model's output out of its inputs, as onnxruntime's InferenceSession does."""

    def run(self, names: Any, feed: Mapping[str, Matrix]) -> Any:
        """Return the outputs."""
        ...


class Model:
    """Scores events; a failure is no score, and rules go on without it.

    What has failed some times in a row is left alone for a while: see `Breaker`. A batch fails
    that raises an error, answers with something else than numbers from 0 to 1, or takes too long.
    """

    def __init__(
        self, card: ModelCard, session: Session, source: str, breaker: Breaker | None = None
    ) -> None:
        """`source` names the inputs of the session."""
        self.card, self._session, self._source = card, session, source
        self._expressions, self._reads = card.expressions, sorted(card.reads())
        self.breaker = breaker or Breaker()
        self.why: str | None = None
        """Why the last batch failed, None if it did not."""

    def __reduce__(self) -> Any:
        raise TypeError("a model is loaded, not copied")

    def score(self, frame: pl.DataFrame) -> pl.Series:
        """Return `model_score` of events, shape (n,): from 0 to 1, null where there is none."""
        if frame.height == 0 or not self.breaker.allows():
            return pl.Series(SCORE, [None], dtype=pl.Float64()).new_from_index(0, frame.height)
        began = time.perf_counter()
        scores, self.why = self.answer(frame)
        took = time.perf_counter() - began
        if self.why is None and took > SLOW_S + SLOW_US * 1e-6 * frame.height:
            self.why = f"slow: {took:.2f} s for {frame.height:,} events"
        if self.why is None:
            self.breaker.succeeded()
        else:
            self.breaker.failed()
        return scores

    def answer(self, frame: pl.DataFrame) -> tuple[pl.Series, str | None]:
        """Return the same whatever was before, and what went wrong if anything did."""
        found = np.full(frame.height, np.nan)
        why = None
        try:
            if frame.height:
                answer = self._session.run(None, {self._source: self.inputs(frame)})[0]
                found = np.array(answer, np.float64).reshape(-1)
        except PolarsError as error:
            why = f"inputs: {type(error).__name__}"
        except Exception as error:  # whatever a model's file makes the runtime raise
            why = f"runtime: {type(error).__name__}"
        if found.shape != (frame.height,):
            found, why = np.full(frame.height, np.nan), "answer: not one number for each event"
        wrong = ~((found >= 0) & (found <= 1))
        if wrong.any():
            found[wrong] = np.nan
            why = why or "answer: not from 0 to 1"
        return pl.Series(SCORE, found, nan_to_null=True), why

    def inputs(self, frame: pl.DataFrame) -> Matrix:
        """Return what the model takes of events, shape (n, inputs); NaN is unknown."""
        # What is not read need not be put into one chunk.
        return matrix(frame[self._reads], self._expressions)


def matrix(frame: pl.DataFrame, expressions: list[pl.Expr]) -> Matrix:
    """Return inputs of events, shape (n, inputs), in the order of a model's file."""
    columns = select_rows(frame, expressions)
    found = np.empty((frame.height, columns.width), np.float32)
    for at, column in enumerate(columns):
        # What is null is NaN then; fill_null would wait for a thread of Polars.
        found[:, at] = column.to_numpy()
    return found


def load_model(path: Path) -> Model:
    """Read a model's file and the card beside it; raises ModelError."""
    card = read_card(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}") from None
    if hashlib.sha256(content).hexdigest() != card.sha256:
        raise ModelError(f"{path} is not the file that its card is of: put both there again")
    try:
        import onnxruntime
    except ImportError:
        raise ModelError(f"{path} needs onnxruntime: pip install 'millstream[model]'") from None
    options = onnxruntime.SessionOptions()
    # More threads would wait for each other, and add trees up in another order.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(
            content, options, providers=["CPUExecutionProvider"]
        )
        (source,) = session.get_inputs()
    except Exception as error:  # the runtime has many kinds, of no common base
        raise ModelError(
            f"{path} is no model that can be run: {type(error).__name__}"
        ) from None
    width = source.shape[-1]
    if width != len(card.inputs):
        raise ModelError(f"{path} takes {width} inputs, and its card has {len(card.inputs)}")
    return Model(card, session, source.name)
