"""Patterns: events of one key in an order, within a time (complex event processing)."""

from operators.patterns.matching import Matched, OpenMatches
from operators.patterns.pattern import Absence, Pattern, PatternError, Step

__all__ = ["Absence", "Matched", "OpenMatches", "Pattern", "PatternError", "Step"]
