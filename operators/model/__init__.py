"""Models: an ONNX file as one more column of each event, with a card that says what it is."""

from operators.model.breaker import Breaker
from operators.model.card import (
    SCORE,
    ModelCard,
    ModelError,
    ModelSpec,
    card_of,
    file_of,
    read_card,
    read_spec,
)
from operators.model.model import Model, load_model, matrix

__all__ = [
    "SCORE",
    "Breaker",
    "Model",
    "ModelCard",
    "ModelError",
    "ModelSpec",
    "card_of",
    "file_of",
    "load_model",
    "matrix",
    "read_card",
    "read_spec",
]
