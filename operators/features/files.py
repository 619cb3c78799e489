"""Feature files: one YAML file each, read and refused with all their problems."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from operators import yaml_text
from operators.features.feature import Feature, Source

Problem = tuple[tuple[str | int, ...], str]
"""Where in a file something is wrong, and what."""


class FeatureError(ValueError):
    """One or more features cannot be used; the message names every problem."""


def read_feature(
    stated: Any, stem: str, source: Source, taken: Collection[str] = ()
) -> tuple[Feature | None, list[Problem]]:
    """Return the feature that a file's content states, None if it states none, and its problems.

    `stem` is the file's name; `taken` are the columns that other features have.
    """
    try:
        feature = Feature.model_validate(stated)
    except ValidationError as error:
        return None, [
            (
                each["loc"],
                f"{'.'.join(map(str, each['loc']))}: ".removeprefix(": ")
                + each["msg"].removeprefix("Value error, "),
            )
            for each in error.errors()
        ]
    found: list[Problem] = [
        ((where,), f"{where}: {text}") for where, text in feature.problems(source)
    ]
    if feature.name != stem:
        found.append((("name",), f"its name is {feature.name}, not the file's"))
    if feature.name in taken:
        found.append((("name",), f"there is a column {feature.name} already"))
    return feature, found


def load_features(
    folder: Path, source: Source, taken: Collection[str] = ()
) -> tuple[Feature, ...]:
    """Read every ``*.yaml`` of a folder, sorted by name; none if there is no such folder.

    Raises FeatureError naming all problems of every file.
    """
    features, problems = [], []
    for path in sorted(folder.glob("*.yaml")):
        try:
            stated = yaml_text.read(path.read_text("utf-8"))
        except (yaml_text.YAMLError, UnicodeDecodeError) as error:
            problems.append(f"features/{path.name}: {error}")
            continue
        feature, found = read_feature(stated, path.stem, source, taken)
        problems += [f"features/{path.name}: {text}" for _, text in found]
        if feature is not None:
            features.append(feature)
    if problems:
        raise FeatureError("\n".join(problems))
    return tuple(features)
