"""Stated: what the contract.yaml of an enforced topic says, but for what its records must be."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from flows.streams.settings import Duration, Topic
from flows.streams.upkeep import Upkeep
from operators import yaml_text
from operators.avro.compatibility import Level
from operators.privacy import Declared

CONTRACT: Final = "contract.yaml"
_SHORTEST: Final = timedelta(hours=1)


class ByField(BaseModel):
    """The field that has a record's version, and the one that has its schema's name."""

    model_config = ConfigDict(extra="forbid")

    field: str
    schema_field: str | None = None


class ByHeader(BaseModel):
    """The header that has a record's version."""

    model_config = ConfigDict(extra="forbid")

    header: str


Kept = Literal["silver", "duplicates", "quarantine", "data_quality", "schema_drift"]
"""What a topic's tables are called in its contract."""


class StatedUpkeep(BaseModel):
    """How a table is maintained; what is not said is as of every table.

    `retention` may be null, which keeps rows for ever.
    """

    model_config = ConfigDict(extra="forbid")

    target_mb: int | None = Field(None, ge=1)
    keep: Duration | None = None
    z_order: list[str] | None = None
    retention: Duration | None = None

    def of(self, usual: Upkeep) -> Upkeep:
        """Return what it says of a table that is usually maintained in a way."""
        told: dict[str, Any] = {}
        if self.target_mb is not None:
            told["target"] = self.target_mb * 2**20
        if self.keep is not None:
            told["keep"] = self.keep
        if self.z_order is not None:
            told["z_order"] = tuple(self.z_order)
        if "retention" in self.model_fields_set:
            told["retention"] = self.retention
        return replace(usual, **told)

    @field_validator("keep")
    @classmethod
    def _keep(cls, value: timedelta | None) -> timedelta | None:
        if value is not None and value < _SHORTEST:
            raise ValueError("readers may be at files that went less than 1h ago")
        return value


class Stated(BaseModel):
    """What a contract.yaml states, but for checks and repairs, which contracts read."""

    model_config = ConfigDict(extra="forbid")

    topic: Topic | None = None
    written: Literal["avro", "json"] | None = None
    version: Literal["registry"] | ByField | ByHeader | None = None
    validated: Annotated[Topic | Literal[False] | None, Field(union_mode="left_to_right")] = (
        None
    )
    dlq: Topic | None = None
    id: str | None = None
    compatibility: Level | None = None
    approval: bool = False
    upkeep: dict[Kept, StatedUpkeep] = {}
    pii: dict[str, str] = {}
    privacy: Declared = Declared()
    checks: list[Any] = []
    repairs: list[Any] = []

    @field_validator("version", mode="before")
    @classmethod
    def _version(cls, value: Any) -> Any:
        names = set(value) if isinstance(value, dict) else set()
        ways = ({"field"}, {"field", "schema_field"}, {"header"})
        if value is None or value == "registry" or names in ways:
            return value
        raise ValueError(
            "is none of registry, {field: NAME}, {field: NAME, schema_field: NAME} and "
            "{header: NAME}"
        )


class ProblemError(ValueError):
    """What is wrong with a topic's files; each argument is a line."""


def read_stated(path: Path) -> Stated:
    """Return what a contract.yaml states, all as usual where it is not there; ProblemError."""
    try:
        return Stated.model_validate(yaml_text.read(path.read_text("utf-8")) or {})
    except FileNotFoundError:
        return Stated()
    except ValidationError as error:
        raise ProblemError(*(
            f"{CONTRACT}: {'.'.join(map(str, e['loc']))}: {e['msg'].removeprefix('Value error, ')}"
            for e in error.errors()
        )) from None  # fmt: skip
    except (yaml_text.YAMLError, OSError, UnicodeDecodeError) as error:
        raise ProblemError(f"{CONTRACT}: {error}") from None
