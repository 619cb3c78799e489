"""Stated: what the contract.yaml of an enforced topic says, but for what its records must be."""

from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from flows.streams.settings import Topic
from operators import yaml_text
from operators.avro.compatibility import Level
from operators.privacy import Declared

CONTRACT: Final = "contract.yaml"


class ByField(BaseModel):
    """The field that has a record's version, and the one that has its schema's name."""

    model_config = ConfigDict(extra="forbid")

    field: str
    schema_field: str | None = None


class ByHeader(BaseModel):
    """The header that has a record's version."""

    model_config = ConfigDict(extra="forbid")

    header: str


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
