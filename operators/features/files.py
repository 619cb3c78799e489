"""Feature files: one YAML file each, read and refused with all their problems."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from operators import yaml_text
from operators.features.declared import Features, coded_columns
from operators.features.feature import Feature, Source
from operators.features.levels import in_levels, problem

Problem = tuple[tuple[str | int, ...], str]
"""Where in a file something is wrong, and what."""


class FeatureError(ValueError):
    """One or more features cannot be used; the message names every problem."""


def read_features(
    stated: Sequence[tuple[str, Any]], beside: Features, taken: Collection[str] = ()
) -> list[tuple[Feature | None, list[Problem]]]:
    """Return the feature that each file's content states, None if it states none, and its problems.

    Files are told by their names, without the ending. Those `beside` are features that there are
    already, which these may read; `taken` are the columns that others have.
    """
    found = [_read(content, stem) for stem, content in stated]
    new = [f for f, _ in found if f is not None and f.name not in beside.source.columns]
    features = [*beside.all_stated, *new]
    levels = in_levels(features, beside.source, coded_columns(beside.coded))
    for feature, problems in found:
        if feature is None:
            continue
        others = {name: kind for name, kind in levels.columns.items() if name != feature.name}
        why = problem(feature, levels, features)
        if why is not None:
            problems.append((("where",), f"where: {why}"))
        else:
            wrong = feature.problems(beside.source, others)
            problems += [((where,), f"{where}: {text}") for where, text in wrong]
        if feature.name in taken:
            problems.append((("name",), f"there is a column {feature.name} already"))
    return found


def _read(stated: Any, stem: str) -> tuple[Feature | None, list[Problem]]:
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
    wrong = feature.name != stem
    return feature, [(("name",), f"its name is {feature.name}, not the file's")] * wrong


def load_features(
    folder: Path,
    source: Source,
    taken: Collection[str] = (),
    beside: Features | None = None,
) -> tuple[Feature, ...]:
    """Read every ``*.yaml`` of a folder, sorted by name; none if there is no such folder.

    `taken` are the columns that others have, and those `beside` what these may read. Raises
    FeatureError naming all problems of every file.
    """
    stated, problems = [], []
    for path in sorted(folder.glob("*.yaml")):
        try:
            stated.append((path.stem, yaml_text.read(path.read_text("utf-8"))))
        except (yaml_text.YAMLError, UnicodeDecodeError) as error:
            problems.append(f"features/{path.name}: {error}")
    found = read_features(stated, beside or Features(source), taken)
    for (stem, _), (_, wrong) in zip(stated, found, strict=True):
        problems += [f"features/{stem}.yaml: {text}" for _, text in wrong]
    if problems:
        raise FeatureError("\n".join(sorted(problems)))
    return tuple(feature for feature, _ in found if feature is not None)
