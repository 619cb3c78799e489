"""A model's card: what it takes of an event, what it was trained on, and how good it was."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import polars as pl
from polars.exceptions import PolarsError
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from operators import yaml_text
from operators.columns.expressions import one_row

SCORE: Final = "model_score"
"""The column that a model adds: from 0 to 1, null where it has no answer."""


_OF: Final = ", of "


def file_of(definition: str) -> str:
    """Return which file a `ModelCard.definition` is of, in words."""
    return definition.partition(_OF)[0]


class ModelError(ValueError):
    """A model cannot be used; the message names every problem."""


class ModelSpec(BaseModel):
    """What a model is to be made of: `inputs` are SQL over one event, in their order."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")
    version: int = Field(ge=1)
    description: str = Field(min_length=1)
    inputs: dict[str, str] = Field(min_length=1)

    @field_validator("inputs", mode="before")
    @classmethod
    def _text(cls, given: Any) -> Any:
        # YAML reads a column's name as it stands.
        return {str(k): str(v) for k, v in given.items()} if isinstance(given, dict) else given

    @property
    def expressions(self) -> list[pl.Expr]:
        """The inputs as columns of numbers; raises PolarsError for one that is none."""
        return [one_row(sql).cast(pl.Float32).alias(name) for name, sql in self.inputs.items()]

    def reads(self) -> set[str]:
        """Return the columns that the inputs are of."""
        return {n for each in self.expressions for n in each.meta.root_names()}

    def problems(self, columns: Mapping[str, pl.DataType]) -> list[str]:
        """Return what is wrong with its inputs for events that have these columns."""
        found = []
        empty = pl.DataFrame(schema=columns)
        for name, sql in self.inputs.items():
            try:
                kind = empty.select(one_row(sql)).dtypes[0]
            except PolarsError as error:
                found.append(f"input {name}: {str(error).splitlines()[0]}")
                continue
            if not (kind.is_numeric() or kind == pl.Boolean()):
                found.append(f"input {name}: {sql!r} is of type {kind}, no number")
        return found


class ModelCard(ModelSpec):
    """What stands beside a model's file.

    `features` has the definition of each feature that its inputs read, `sha256` is of the file.
    Events with a score of `threshold` or more have an alert in backtests. `trained` says on what,
    `scores` how good it was, by split.
    """

    stream: str
    features: dict[str, str]
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    threshold: float = Field(ge=0, le=1)
    trained: dict[str, Any]
    scores: dict[str, dict[str, Any]]

    @property
    def file(self) -> str:
        """Which file it is of, in words."""
        return f"{self.name}@{self.version}, sha256 {self.sha256}"

    @property
    def definition(self) -> str:
        """What scores are a function of, in one line: two of the same give the same."""
        return f"{self.file}{_OF}{json.dumps(self.inputs)}"

    def problems_with(
        self, stream: str, columns: Mapping[str, pl.DataType], definitions: Mapping[str, str]
    ) -> list[str]:
        """Return why it does not fit a stream's columns and the definitions of its features."""
        found = self.problems(columns)
        if self.stream != stream:
            found.append(f"is of {self.stream}, not of {stream}")
        for name, text in self.features.items():
            today = definitions.get(name)
            if today is not None and today != text:
                found.append(
                    f"was trained on another {name} ({text}) than there is now ({today}): train "
                    "it again"
                )
        return found

    def dump(self) -> str:
        """Return its text."""
        return json.dumps(self.model_dump(), indent=2) + "\n"


def card_of(path: Path) -> Path:
    """Return where the card of a model's file is."""
    return path.with_suffix(".json")


def read_card(path: Path) -> ModelCard:
    """Read the card beside a model's file; raises ModelError."""
    beside = card_of(path)
    try:
        return ModelCard.model_validate_json(beside.read_bytes())
    except FileNotFoundError:
        raise ModelError(
            f"{path} has no card: {beside} is missing; millstream model train writes both"
        ) from None
    except OSError as error:
        raise ModelError(f"{beside}: {error.strerror}") from None
    except ValidationError as error:
        raise ModelError(_said(beside, error)) from None


def read_spec(path: Path) -> ModelSpec:
    """Read what a model is to be made of, a YAML file; raises ModelError."""
    try:
        return ModelSpec.model_validate(yaml_text.read(path.read_text("utf-8")))
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}") from None
    except (yaml_text.YAMLError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: {error}") from None
    except ValidationError as error:
        raise ModelError(_said(path, error)) from None


def _said(path: Path, error: ValidationError) -> str:
    return "\n".join(
        f"{path}: {'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()
    )
