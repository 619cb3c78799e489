"""A topic of card payments with known frauds and known troubles, and the truth beside it.

`simulate` is pure and makes records from parameters; `replay_file` makes them from a file of
payments; `simulate_chargebacks` makes those that follow; `produce` writes any of them to Kafka.
"""

from ops.simulate.chargebacks import Chargebacks, simulate_chargebacks
from ops.simulate.params import Params, Troubles
from ops.simulate.produce import ProduceError, produce
from ops.simulate.replay import replay_file
from ops.simulate.simulation import Simulation, simulate

__all__ = [
    "Chargebacks",
    "Params",
    "ProduceError",
    "Simulation",
    "Troubles",
    "produce",
    "replay_file",
    "simulate",
    "simulate_chargebacks",
]
