"""The environment: what is set there, as settings, with all that is wrong with it."""

import sys
from collections.abc import Container, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

if TYPE_CHECKING:
    from pydantic import BaseModel

PREFIX: Final = "MILLSTREAM_"
ENFORCE_PREFIX: Final = f"{PREFIX}ENFORCE_"

_Kind = TypeVar("_Kind", bound="BaseModel")


class SettingsError(ValueError):
    """The settings cannot be used; the message names every problem."""


def values_of(environ: Mapping[str, str], prefix: str, names: Iterable[str]) -> dict[str, str]:
    """Return what is set of some settings, by their names; variables begin with `prefix`."""
    return {n: environ[prefix + n.upper()] for n in names if prefix + n.upper() in environ}


def parsed(
    kind: type[_Kind],
    prefix: str,
    values: Mapping[str, Any],
    problems: list[str],
    told: Container[str] | None = None,
) -> _Kind | None:
    """Return settings, or None with what is wrong added to `problems`; only of `told` if given."""
    # Who only refuses needs none of what reads settings.
    from pydantic import ValidationError

    try:
        return kind(**values)
    except ValidationError as error:
        for each in error.errors():
            field = str(each["loc"][0])
            if told is not None and field not in told:
                continue
            name, text = prefix + field.upper(), each["msg"].removeprefix("Value error, ")
            if each["type"] == "missing":
                said = kind.model_fields[field].description or ""
                text = f"is missing ({said.partition(';')[0]})"
            problems.append(text if field == "kafka" else f"{name}: {text}")
        return None


def refuse(problem: Exception | str, status: int) -> NoReturn:
    """End the process with a message that a person can act on: 2 settings, 1 the world."""
    text = str(problem)
    if isinstance(problem, OSError) and problem.filename:
        text = f"{problem.filename}: {problem.strerror}"
    for line in text.splitlines():
        print(f"millstream: {line}", file=sys.stderr)
    raise SystemExit(status)
