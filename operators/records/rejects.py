"""Rejects: records that some stage refused, and why."""

from dataclasses import dataclass
from typing import Literal, Self

from operators.errors import KnownError

Stage = Literal["decode", "contract", "rule"]
"""What may refuse a record; a sink refuses none, as what it gets is of its columns' types."""


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

    def at(self, row: int) -> Self:
        """Return the same for another record."""
        # As `replace` would, in a third of the time: half of a topic may be refused.
        return type(self)(row, self.stage, self.code, self.message, self.schema_id, self.stops)


class BrokenContractError(KnownError):
    """A record breaks what the contract says no record may."""
