"""Labels, what payments turned out to be: what is declared of them."""

from datetime import timedelta

from pydantic import Field

from flows.streams.settings import Duration, StreamSettings
from flows.streams.stream import Stream


class LabelSettings(StreamSettings):
    """How far out of order labels are: many become known days after their payments."""

    out_of_orderness: Duration = Field(
        timedelta(hours=1),
        description="by how much labels may come out of order; read to their end they hold nobody",
    )


LABELS = Stream(
    name="labels",
    record="label",
    id="label_id",
    key="payment_id",
    settings=LabelSettings,
    alone=False,
    judged=True,
)
