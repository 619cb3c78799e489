"""Rejects: records that some stage refused, and why."""

from dataclasses import dataclass
from typing import Literal

from operators.errors import KnownError

Stage = Literal["decode", "contract", "rule", "sink"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why one record of a batch was refused.

    `row` is its position in the batch that the stage was given; `code` is stable and meant
    for dashboards; `message` explains it to a person and never holds payload values.
    """

    row: int
    stage: Stage
    code: str
    message: str
    schema_id: str | None = None
    stops: bool = False


class BrokenContractError(KnownError):
    """A record breaks what the contract says no record may."""


class TooManyRejectsError(KnownError):
    """Most records are being refused: the fault is more likely ours than theirs."""


class Breaker:
    """Stops a flow that refuses most of what it reads, so that it can't empty a topic."""

    def __init__(self, ratio: float, over: int = 1000) -> None:
        """Break when more than `ratio` of at least `over` consecutive records are refused."""
        self._ratio, self._over = ratio, over
        self._records = self._refused = 0

    def observe(self, records: int, refused: int) -> None:
        """Count a batch; raises TooManyRejectsError past the ratio."""
        self._records += records
        self._refused += refused
        if self._records < self._over:
            return
        if self._refused > self._ratio * self._records:
            raise TooManyRejectsError(
                f"{self._refused} of the last {self._records} records were refused, more than "
                f"the {self._ratio:.0%} of MILLSTREAM_MAX_REJECT_RATIO; look at the newest rows "
                "of the quarantine table or the dead-letter topic, mend the schema or the "
                "producer, or raise the ratio, and start again"
            )
        self._records = self._refused = 0
