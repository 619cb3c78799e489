"""Backtests: rules run over history, and what they would have been worth."""
