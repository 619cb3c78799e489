"""A topic of card payments with known frauds and known troubles, and the truth beside it.

`simulate` is pure and makes records from parameters; `replay_file` makes them from a file of
payments; `produce` writes either to Kafka.
"""

from ops.simulate.params import Params, Troubles
from ops.simulate.produce import ProduceError, produce
from ops.simulate.replay import replay_file
from ops.simulate.simulation import Simulation, simulate

__all__ = [
    "Params",
    "ProduceError",
    "Simulation",
    "Troubles",
    "produce",
    "replay_file",
    "simulate",
]
