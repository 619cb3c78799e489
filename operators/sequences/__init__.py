"""Sequences: ordered patterns over one key's events within a time (CEP)."""

from operators.sequences.matching import Matched, OpenMatches
from operators.sequences.pattern import Absence, Sequence, SequenceError, Step

__all__ = ["Absence", "Matched", "OpenMatches", "Sequence", "SequenceError", "Step"]
