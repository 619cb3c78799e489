"""Training: gradient-boosted trees on examples, by splits in the order of time."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from operators.columns.arrays import Floats
from operators.model.model import Matrix
from ops.backtest.metrics import curve
from ops.model.examples import Examples

ROUNDS: Final = 400
_PATIENCE: Final = 40
_OTHERS: Final = 4
"""One of so many good events is learnt from, and counts as many: most of them say the same."""

_PARAMETERS: Final[dict[str, Any]] = {
    "objective": "binary",
    "metric": "average_precision",
    "num_leaves": 6,
    "lambda_l2": 10.0,
    "learning_rate": 0.06,
    "min_data_in_leaf": 30,
    # One thread and a fixed seed: the same events give the same file.
    "num_threads": 1,
    "deterministic": True,
    "seed": 0,
    "verbose": -1,
}


@dataclass(frozen=True)
class Trained:
    """Trees, how many of them, and the score from which on an event has an alert."""

    booster: Any
    rounds: int
    threshold: float

    def score(self, inputs: Matrix) -> Floats:
        """Return scores from 0 to 1, shape (n,)."""
        found: Floats = self.booster.predict(inputs, num_threads=1)
        return found


def train(earlier: Examples, later: Examples, all_: Examples) -> tuple[Trained, Trained]:
    """Return trees of the earlier examples and of all.

    The later ones say how many trees are enough, and which score is best as a threshold: the one
    with the best F1.
    """
    import lightgbm

    data, held = _data(lightgbm, earlier), _data(lightgbm, later, every=True)
    stop = lightgbm.early_stopping(_PATIENCE, verbose=False)
    first = lightgbm.train(_PARAMETERS, data, ROUNDS, valid_sets=[held], callbacks=[stop])
    rounds = int(first.best_iteration)
    scores = np.asarray(first.predict(later.inputs, num_threads=1), np.float64)
    threshold = _best(scores, later)
    last = lightgbm.train(_PARAMETERS, _data(lightgbm, all_), rounds)
    return Trained(first, rounds, threshold), Trained(last, rounds, threshold)


def _data(lightgbm: Any, of: Examples, *, every: bool = False) -> Any:
    picked = of.fraud | (of.ids % _OTHERS == 0) | every
    weights = np.where(of.fraud | every, 1.0, float(_OTHERS))[picked]
    return lightgbm.Dataset(of.inputs[picked], of.fraud[picked].astype(np.int8), weight=weights)


def _best(scores: Floats, of: Examples) -> float:
    judged = ~of.events.known
    found = curve(scores[judged], of.fraud[judged])
    both = found.precision + found.recall
    f1 = np.where(both > 0, 2 * found.precision * found.recall / np.maximum(both, 1e-9), 0)
    return float(np.round(found.scores[int(np.argmax(f1))], 4))
