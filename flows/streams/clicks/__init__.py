"""Clicks: advertisements shown, clicked and paid off; the worked example of a stream."""

from pathlib import Path

from flows.streams.stream import Stream
from operators.windows import Windows, agg, tumbling

CLICKS = Stream(
    name="clicks",
    record="click",
    id="click_id",
    key="user_id",
    windows={
        "campaign_5m": Windows(
            ("campaign_id",),
            tumbling("5m"),
            {
                "impressions": agg.count(where="kind = 'IMPRESSION'"),
                "clicks": agg.count(where="kind = 'CLICK'"),
                "conversions": agg.count(where="kind = 'CONVERSION'"),
                "cost_minor": agg.sum("cost_minor"),
                "users": agg.distinct("user_id"),
            },
        )
    },
    rules=Path(__file__).parent / "rules",
)
