"""How records come to their topic: what goes wrong, framing, partitions, pace."""

from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Self


@dataclass(frozen=True, slots=True)
class Troubles:
    """The share of events, each in [0, 1], that meets each trouble.

    - `out_of_order`: arrives up to 29 s after its event time, behind later events
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
class Delivery:
    """When events take place, and how their records are written and sent.

    - `start`: the time of the first event, or where its simulation begins
    - `pace`: events per second of event time, evenly, instead of the simulation's own times
    - `guid_share`, `header_share`: share framed with a GUID, and named by a header, else by id

    Equal parameters give equal bytes (with the same numpy). Raises ValueError that names every
    problem.
    """

    start: datetime = datetime(2018, 4, 1, tzinfo=UTC)
    pace: float | None = None
    seed: int = 0
    partitions: int = 4
    guid_share: float = 0.05
    header_share: float = 0.05
    troubles: Troubles = field(default_factory=Troubles)

    def __post_init__(self) -> None:
        if problems := self.problems():
            raise ValueError("; ".join(problems))

    def problems(self) -> list[str]:
        """Return what is wrong with the parameters, in words."""
        problems = self.troubles.problems()
        if self.partitions < 1:
            problems.append(f"partitions is {self.partitions}, not 1 or more")
        if self.seed < 0:
            problems.append(f"seed is {self.seed}, not 0 or more")
        if not (
            min(self.guid_share, self.header_share) >= 0
            and self.guid_share + self.header_share <= 1
        ):
            problems.append("guid_share and header_share are not shares that sum to at most 1")
        if self.pace is not None and self.pace <= 0:
            problems.append(f"pace is {self.pace}, not above 0")
        if self.start.tzinfo is None:
            problems.append("start has no time zone")
        return problems
