"""Sequences: ordered patterns over one key's events within a time (complex event processing)."""

from operators.sequences.matching import Matched, OpenMatches
from operators.sequences.pattern import Absence, Sequence, SequenceError, Step

__all__ = ["Absence", "Matched", "OpenMatches", "Sequence", "SequenceError", "Step"]
