"""A topic of any declared stream with known troubles, and the truth beside it.

`simulate_declared` makes events of what is declared of a stream; `payments` has a simulator of
its own, with known frauds. Both are pure; `produce` writes what they make to Kafka.
"""

from ops.simulate.declared import DeclaredParams, simulate_declared
from ops.simulate.params import Troubles
from ops.simulate.payments import (
    Chargebacks,
    Params,
    replay_file,
    simulate,
    simulate_chargebacks,
)
from ops.simulate.produce import ProduceError, produce
from ops.simulate.simulation import Simulation

__all__ = [
    "Chargebacks",
    "DeclaredParams",
    "Params",
    "ProduceError",
    "Simulation",
    "Troubles",
    "produce",
    "replay_file",
    "simulate",
    "simulate_chargebacks",
    "simulate_declared",
]
