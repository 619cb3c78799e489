"""Labels of simulated payments on their topic: what each turned out to be, some time later."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import numpy as np
import polars as pl

import schemas
from benchmarks.topics import PARTITIONS, send
from flows.streams import LABELS
from flows.streams.labelling import labels_of_events
from ops.simulate.encode import BY_ID, encode_framed, partitions_of

_WEEK: Final = timedelta(days=7)


@dataclass(frozen=True)
class _Made:
    records: pl.DataFrame


def fill_labels(bootstrap: str, payments: pl.DataFrame, after: timedelta = _WEEK) -> int:
    """Send labels, made so long `after` their payments, of all that are as old; return how many.

    `payments` have the columns of a simulation's events.
    """
    times = payments["event_time"].to_physical()
    later = after // timedelta(microseconds=1)
    known = payments.filter(times + later <= times.max())
    verdict = np.where(known["is_fraud"], "FRAUD", "GENUINE").tolist()
    since = known["event_time"].to_physical().to_numpy() + later
    rows = labels_of_events(LABELS, known, since, verdict, "undisputed")
    newest, n = schemas.versions(LABELS.record)[-1], rows.height
    values, headers = encode_framed(LABELS.record, rows, np.full(n, newest), np.full(n, BY_ID))
    keys = rows[LABELS.key]
    made = {
        "partition": partitions_of(keys, PARTITIONS),
        "key": keys.cast(pl.Binary()),
        "value": values,
        "header": headers,
    }
    return send(bootstrap, LABELS.name, _Made(pl.DataFrame(made)))
