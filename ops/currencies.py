"""Currencies: what their minor units are, where these are no hundredths (ISO 4217)."""

from typing import Final

WHOLE: Final = frozenset(
    {"BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND",
     "VUV", "XAF", "XOF", "XPF"}
)  # fmt: skip
THOUSANDTHS: Final = frozenset({"BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"})


def digits(currency: str) -> int:
    """Return how many decimals a currency's amounts have."""
    return 0 if currency in WHOLE else 3 if currency in THOUSANDTHS else 2
