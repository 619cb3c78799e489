"""Places: each record of a topic is in bronze, and once in silver, duplicates or quarantine."""

from collections.abc import Callable

import polars as pl

from flows.settings import Settings
from flows.streams import Stream
from operators.records.columns import KEY_ID
from operators.records.tables import COORDINATES
from ops.sealed import decrypted
from ops.verify.forgotten import Forgotten
from ops.verify.report import Check, only_once
from ops.verify.tables import Tables, uncut
from ops.verify.topics import source_records, still_there
from ops.verify.truth import check_truth

_PLACE = ["source_partition", "source_offset"]
_STAGES = ["decode", "contract"]


def check_places(
    settings: Settings,
    stream: Stream,
    tables: Tables,
    rejects: pl.DataFrame,
    truth: pl.DataFrame,
    gone: Forgotten,
    told: Callable[[str], None],
) -> tuple[list[Check], dict[str, int]]:
    """Return the checks, and how many records went where.

    `rejects` are the quarantine's, `truth` is what a simulation says of the topic, empty for none.
    What was forgotten, or cut by retention, is compared with nothing.
    """
    topic = settings.of(stream).topic
    told(f"reading topic {topic}")
    source = source_records(
        settings.kafka, topic, lambda n: told(f"reading topic {topic}: {n:,} records")
    )
    told(f"comparing {stream.bronze.name} with the topic")
    kinds = {**COORDINATES, "value": pl.Binary(), KEY_ID: pl.String()}
    bronze = decrypted(tables.read(stream.bronze.name, kinds), ("value",))
    bronze = bronze.select(*_PLACE, pl.col("value").hash().alias("value_hash"))
    refused = rejects.filter(pl.col("stage").is_in(_STAGES)).select(_PLACE)
    repeated = stream.ledger.repeated
    places = {"silver": tables.read(stream.silver.name, [*_PLACE]), "quarantine": refused}
    by_table = {stream.silver.name: places["silver"], stream.quarantine.name: refused}
    if repeated is not None:
        places["duplicates"] = tables.read(repeated.name, [*_PLACE])
        by_table[repeated.name] = places["duplicates"]
    left = gone.check({stream.bronze.name: bronze, **by_table})
    placed = pl.concat(
        [rows.with_columns(place=pl.lit(place)) for place, rows in places.items()]
    )
    counts = {
        "events": source.height,
        "unique": places["silver"].height,
        "duplicates": places["duplicates"].height if repeated else 0,
        "rejected": refused.height,
    }
    bronze_cut = tables.cut(stream.bronze.name, topic)
    still = still_there(source, gone.without(bronze))
    # Only of what was refused retention has cut any.
    lacking = bronze.join(placed, on=_PLACE, how="anti")
    kept = uncut(tables.cut(stream.quarantine.name, topic), lacking)
    excused = lacking.join(kept, on=_PLACE, how="anti")
    checks = [
        only_once(
            f"every record of topic {topic} is in {stream.bronze.name}, once",
            uncut(bronze_cut, gone.without(source)),
            still,
            deleted=bronze.height - still.height,
        ),
        only_once(
            f"{stream.bronze.name} = silver + {'duplicates + ' if repeated else ''}"
            "quarantine, each record in one place",
            bronze.select(_PLACE).join(excused, on=_PLACE, how="anti"),
            uncut(bronze_cut, placed),
            deleted=excused.height,
        ),
        *left,
    ]
    if len(truth):
        checks.append(check_truth(truth, placed, gone))
    return checks, counts
