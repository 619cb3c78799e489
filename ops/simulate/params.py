"""What a simulation depends on: equal parameters give equal bytes (with the same numpy)."""

from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Self


@dataclass(frozen=True, slots=True)
class Troubles:
    """The share of payments, each in [0, 1], that meets each trouble.

    - `out_of_order`: arrives up to 29 s after its event time, behind later payments
    - `late`: arrives 5 minutes to 6 hours after its event time
    - `duplicate`: the same bytes arrive again 1 s to 10 minutes later
    - `malformed`: bytes that are no Avro of the schema they name
    - `truncated`: cut inside the Avro part; `truncated_frame`: cut inside the frame before it
    - `bad_magic`: the first byte is neither 0 nor 1, as of JSON sent to the wrong topic
    - `unknown_schema`: the frame names a schema that no registry has
    - `bad_utf8`: a string field holds bytes that are not UTF-8
    - `null`: no value (a tombstone); `empty`: a value of no bytes
    - `contract`: well-formed Avro with a value that the contract forbids
    """

    out_of_order: float = 0.01
    late: float = 0.005
    duplicate: float = 0.005
    malformed: float = 0.001
    truncated: float = 0.001
    truncated_frame: float = 0.0002
    bad_magic: float = 0.0005
    unknown_schema: float = 0.001
    bad_utf8: float = 0.0005
    null: float = 0.001
    empty: float = 0.0002
    contract: float = 0.002

    @classmethod
    def none(cls) -> Self:
        """Return shares that are all 0."""
        return cls(**{entry.name: 0.0 for entry in fields(cls)})

    def problems(self) -> list[str]:
        """Return what is wrong with the shares, in words."""
        shares = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        wrong = [
            f"{k} is {v}, not a share in [0, 1]" for k, v in shares.items() if not 0 <= v <= 1
        ]
        if sum(shares.values()) > 1:
            wrong.append("the shares of all troubles sum to more than 1")
        return wrong


@dataclass(frozen=True, slots=True)
class Params:
    """The size of the simulated world, its frauds, and how payments are written.

    Defaults are those of the "Reproducible Machine Learning for Credit Card Fraud Detection"
    handbook (Le Borgne et al., ULB, section "Transaction data simulator"), except for what it
    does not have: cards, schema versions, framing and troubles.

    - `payments`: how many, instead of `days` (as many whole days as it takes, then cut)
    - `start`: midnight of the first day, UTC, or any time where there is a `pace`
    - `pace`: payments per second of event time, evenly, instead of the customers' own times
    - `radius`: how far from home customers pay, in units; the world is 100 x 100 units
    - `compromised_per_day`, `stolen_per_day`: new cases each day, of terminals and customers
    - `burst_share`, `abroad_share`: share of the stolen cards used in bursts, and abroad
    - `version_2_share`: share of payments written with schema version 2, else 1
    - `guid_share`, `header_share`: share framed with a GUID, and named by a header, else by id

    Raises ValueError that names every problem.
    """

    customers: int = 5_000
    terminals: int = 10_000
    radius: float = 5.0
    days: int = 30
    payments: int | None = None
    start: datetime = datetime(2018, 4, 1, tzinfo=UTC)
    pace: float | None = None
    seed: int = 0
    partitions: int = 4
    cards_per_customer: int = 1
    compromised_per_day: int = 2
    stolen_per_day: int = 3
    burst_share: float = 0.3
    abroad_share: float = 0.3
    version_2_share: float = 0.1
    guid_share: float = 0.05
    header_share: float = 0.05
    troubles: Troubles = field(default_factory=Troubles)

    def __post_init__(self) -> None:
        problems = self.troubles.problems()
        for name in ("customers", "terminals", "days", "partitions", "cards_per_customer"):
            if getattr(self, name) < 1:
                problems.append(f"{name} is {getattr(self, name)}, not 1 or more")
        for name in ("compromised_per_day", "stolen_per_day", "seed"):
            if getattr(self, name) < 0:
                problems.append(f"{name} is {getattr(self, name)}, not 0 or more")
        for name in ("burst_share", "abroad_share", "version_2_share"):
            if not 0 <= getattr(self, name) <= 1:
                problems.append(f"{name} is {getattr(self, name)}, not a share in [0, 1]")
        if not (
            min(self.guid_share, self.header_share) >= 0
            and self.guid_share + self.header_share <= 1
        ):
            problems.append("guid_share and header_share are not shares that sum to at most 1")
        if self.payments is not None and self.payments < 1:
            problems.append(f"payments is {self.payments}, not 1 or more")
        if self.pace is not None and self.pace <= 0:
            problems.append(f"pace is {self.pace}, not above 0")
        if self.radius <= 0:
            problems.append(f"radius is {self.radius}, not above 0")
        if self.start.tzinfo is None:
            problems.append("start has no time zone")
        if problems:
            raise ValueError("; ".join(problems))
