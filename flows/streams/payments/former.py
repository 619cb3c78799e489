"""Former: what the payments' state of features held before features were data."""

from typing import Final

from operators.features import Former

_DAY: Final = 86_400_000_000

VERSION_2: Final = Former(
    members={
        "events by card_id": (
            "history",
            {"key": "key", "time": "time", "sum of amount_minor": "amount"},
        ),
        "totals by card_id": (
            "cards",
            {
                "key": "key",
                "period": "period",
                "count": "count",
                "sum of amount_minor": "amount",
                "placed_at": "time",
                "latitude": "latitude",
                "longitude": "longitude",
            },
        ),
    },
    holds={
        "events by card_id: time": _DAY,
        "events by card_id: sum of amount_minor": _DAY,
        "totals by card_id: count": 0,
        "totals by card_id: sum of amount_minor": 0,
        "totals by card_id: card_moved 1": 0,
    },
)
