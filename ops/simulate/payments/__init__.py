"""What is known of payments alone: a world of customers, frauds, chargebacks, files of payments."""

from ops.simulate.payments.chargebacks import Chargebacks, simulate_chargebacks
from ops.simulate.payments.params import Params
from ops.simulate.payments.replay import replay_file
from ops.simulate.payments.simulation import simulate

__all__ = ["Chargebacks", "Params", "replay_file", "simulate", "simulate_chargebacks"]
