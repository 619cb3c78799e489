"""Models of streams: what scores their events."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from operators.features import FeatureError
from operators.model import ModelError, load_model

if TYPE_CHECKING:
    from flows.streams.stream import Stream


def with_model(stream: "Stream", path: Path | None) -> "Stream":
    """Return the stream with a model's score of each event.

    Raises FeatureError if the file is none, or is of other columns or features.
    """
    if path is None:
        return stream
    try:
        model = load_model(path)
    except ModelError as error:
        raise FeatureError(f"model {error}") from None
    definitions = stream.features.definitions
    problems = model.card.problems_with(stream.name, stream.featured, definitions)
    if problems:
        raise FeatureError("\n".join(f"model {path}: {each}" for each in problems))
    return replace(stream, model=model)


def drafts_of(stream: "Stream") -> Path | None:
    """Return the folder of rules that no flow evaluates, with the features that only they need."""
    folder = stream.rules and stream.rules.parent / "drafts"
    return folder if folder and folder.is_dir() else None
