"""What simulated payments depend on."""

from dataclasses import dataclass

from ops.simulate.params import Delivery


@dataclass(frozen=True, slots=True)
class Params(Delivery):
    """The size of the simulated world, its frauds, and how payments are written.

    Defaults are those of the "Reproducible Machine Learning for Credit Card Fraud Detection"
    handbook (Le Borgne et al., ULB, section "Transaction data simulator"), except for what it
    does not have: cards, schema versions, framing and troubles.

    - `payments`: how many, instead of `days` (as many whole days as it takes, then cut)
    - `start`: midnight of the first day, UTC, or any time where there is a `pace`
    - `radius`: how far from home customers pay, in units; the world is 100 x 100 units
    - `compromised_per_day`, `stolen_per_day`: new cases each day, of terminals and customers
    - `burst_share`, `abroad_share`: share of the stolen cards used in bursts, and abroad
    - `version_2_share`: share of payments written with schema version 2, else 1
    """

    customers: int = 5_000
    terminals: int = 10_000
    radius: float = 5.0
    days: int = 30
    payments: int | None = None
    cards_per_customer: int = 1
    compromised_per_day: int = 2
    stolen_per_day: int = 3
    burst_share: float = 0.3
    abroad_share: float = 0.3
    version_2_share: float = 0.1

    def problems(self) -> list[str]:
        """Return what is wrong with the parameters, in words."""
        problems = Delivery.problems(self)
        for name in ("customers", "terminals", "days", "cards_per_customer"):
            if getattr(self, name) < 1:
                problems.append(f"{name} is {getattr(self, name)}, not 1 or more")
        for name in ("compromised_per_day", "stolen_per_day"):
            if getattr(self, name) < 0:
                problems.append(f"{name} is {getattr(self, name)}, not 0 or more")
        for name in ("burst_share", "abroad_share", "version_2_share"):
            if not 0 <= getattr(self, name) <= 1:
                problems.append(f"{name} is {getattr(self, name)}, not a share in [0, 1]")
        if self.payments is not None and self.payments < 1:
            problems.append(f"payments is {self.payments}, not 1 or more")
        if self.radius <= 0:
            problems.append(f"radius is {self.radius}, not above 0")
        return problems
