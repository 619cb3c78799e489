"""Labels, what payments turned out to be: what is declared of them."""

from datetime import timedelta

from flows.streams.settings import Duration, StreamSettings
from flows.streams.stream import Stream


class LabelSettings(StreamSettings):
    """How far out of order labels are, and how long what was read waits for those that are not.

    Only partitions that are read to their end are waited for no longer than that.
    """

    out_of_orderness: Duration = timedelta(hours=1)
    idle_timeout: Duration = timedelta(seconds=1)


LABELS = Stream(
    name="labels",
    record="label",
    id="label_id",
    key="payment_id",
    settings=LabelSettings,
    alone=False,
)
