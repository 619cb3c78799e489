"""Sequences: ordered patterns over one key's events within a time (CEP)."""

from operators.patterns.matching import Matched, OpenMatches
from operators.patterns.pattern import Absence, Sequence, SequenceError, Step

__all__ = ["Absence", "Matched", "OpenMatches", "Sequence", "SequenceError", "Step"]
