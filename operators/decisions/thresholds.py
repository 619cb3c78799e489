"""Thresholds: from which score on an event is looked into or blocked, as a file states it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from operators import yaml_text
from operators.columns.arrays import Floats
from operators.rules.rules import RuleError

FOLDER: Final = "decisions"
FILE: Final = "thresholds.yaml"
"""Where beside a folder's rules their thresholds are."""


class Thresholds(BaseModel):
    """Thresholds as their file states them; see `Decider` for what comes of them.

    `review` and `block` are of an event's score, which is the sum of its rules' and the model's;
    `model_review` and `model_block` are of the model's score alone, from 0 to 1.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    review: float = Field(gt=0, allow_inf_nan=False)
    block: float = Field(gt=0, allow_inf_nan=False)
    model_review: float = Field(0.5, gt=0, le=1)
    model_block: float = Field(0.95, gt=0, le=1)

    @model_validator(mode="after")
    def _in_order(self) -> "Thresholds":
        if self.review > self.block or self.model_review > self.model_block:
            raise ValueError("what is blocked is below what is reviewed")
        return self


NAMES: Final = tuple(Thresholds.model_fields)

At: TypeAlias = Callable[[str, pl.DataFrame], Floats]
"""What tells a threshold, by its name, for each of n events: shape (n,)."""


def fixed(thresholds: Thresholds) -> At:
    """Return what tells the same for all events."""
    known: Mapping[str, float] = thresholds.model_dump()
    return lambda name, events: np.full(events.height, known[name])


def load_thresholds(*folders: Path | None) -> Thresholds:
    """Read the thresholds beside the first of some folders of rules that has any.

    Raises RuleError for a file that states none, or if no folder has one.
    """
    for folder in folders:
        path = folder / FOLDER / FILE if folder is not None else None
        if path is not None and path.is_file():
            return _read(path)
    raise RuleError(f"no {FOLDER}/{FILE} beside the rules")


def _read(path: Path) -> Thresholds:
    name = f"{FOLDER}/{path.name}"
    try:
        return Thresholds.model_validate(yaml_text.read(path.read_text("utf-8")))
    except (yaml_text.YAMLError, UnicodeDecodeError) as error:
        raise RuleError(f"{name}: {error}") from error
    except ValidationError as error:
        problems = []
        for each in error.errors():
            where = ".".join(map(str, each["loc"]))
            said = each["msg"].removeprefix("Value error, ")
            problems.append(f"{name}: {where}: {said}".replace(": : ", ": "))
        raise RuleError("\n".join(problems)) from error
