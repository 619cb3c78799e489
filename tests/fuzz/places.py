"""Places: what becomes of payloads in the flow's own step, each of them in one place."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from flows.streams import PAYMENTS
from operators.avro.decode import Decodes
from operators.contracts.contract import Contract
from operators.records.batches import Batch, Progress, RawBatch
from operators.records.columns import QUARANTINE_COLUMNS
from operators.records.quarantine import quarantined
from operators.steps.decode import decode_batches

Values = Sequence[bytes | None]


def placed(
    values: Values, headers: Sequence[Any], decoder: Decodes, contract: Contract
) -> Counter[str]:
    """Return how many come into silver and the quarantine; each is in one of them, once."""
    offsets, none = np.arange(len(values)), [None] * len(values)
    stamps = np.full(len(values), 1_760_000_000_000)
    progress = Progress("payments", 0, 1, len(values) - 1)
    raws = [RawBatch(progress, offsets, stamps, none, values, headers)]
    silver: list[int] = []
    quarantine: list[int] = []
    for part in decode_batches(raws, decoder, contract):
        if isinstance(part, Batch):
            silver += part.frame["source_offset"].to_list()
        else:
            rows = quarantined(PAYMENTS.name, part)
            assert rows.schema == pl.Schema(QUARANTINE_COLUMNS)
            quarantine += rows["source_offset"].to_list()
            assert rows["value"].to_list() == [values[at] for at in quarantine]
    assert sorted(silver + quarantine) == offsets.tolist()
    return Counter(silver=len(silver), quarantine=len(quarantine))
