"""Enforced topics: each record is good or refused, once, and what is good has gone on."""

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import polars as pl
from confluent_kafka import OFFSET_BEGINNING

from flows.catalog import Flow
from flows.enforced.topic import Enforced
from operators.connectors.kafka.client import (
    Config,
    first_offsets,
    read_to_end,
    wait_for_partitions,
)
from operators.connectors.kafka.forward import forwarded
from operators.connectors.kafka.topic_ids import identify
from ops.verify.data_quality import check_data_quality
from ops.verify.forgotten import Forgotten, place_of
from ops.verify.identities import check_identities
from ops.verify.report import Check, only_once
from ops.verify.tables import Tables, uncut
from ops.verify.topics import PLACE, reject_ids, sent_once, source_records, still_there

_SECONDS: Final = 10


def check_enforced(
    flow: Flow, tables: Tables, told: Callable[[str], None]
) -> tuple[list[Check], Counter[str]]:
    """Return the checks of the topics whose tables are there, and how many records went where."""
    checks: list[Check] = []
    counts: Counter[str] = Counter()
    for each in flow.reads:
        if isinstance(each, Enforced) and tables.there(each.silver.name):
            gone = Forgotten.of(flow.settings.delta_root, each.name)
            found, counted = _of_topic(flow.settings.kafka, each, tables, gone, told)
            # What it has counted of rows that are gone nobody can count again.
            if not gone and not any(
                tables.there(table.name) and tables.cut(table.name, each.topic)
                for table in each.ledger.counted
            ):
                found += check_data_quality(each, tables, flow.settings, flow.name)
            checks += found
            counts += counted
    return checks, counts


def _of_topic(
    config: Config,
    topic: Enforced,
    tables: Tables,
    gone: Forgotten,
    told: Callable[[str], None],
) -> tuple[list[Check], Counter[str]]:
    name = topic.topic
    source = gone.without(
        source_records(config, name, lambda n: told(f"reading topic {name}: {n:,} records"))
    )
    silver = tables.read(topic.silver.name, [*PLACE])
    columns = {"code": pl.String(), "source_topic": pl.String(), **PLACE}
    refused = pl.DataFrame(schema=columns)
    cut, cut_good = dict[int, int](), tables.cut(topic.silver.name, name)
    repeated, cut_again = pl.DataFrame(schema=PLACE), dict[int, int]()
    again = topic.duplicates.name
    if tables.there(again):
        repeated = tables.read(again, [*PLACE])
        cut_again = tables.cut(again, name)
    if tables.there(topic.quarantine.name):
        refused = tables.read(topic.quarantine.name, columns)
        cut = tables.cut(topic.quarantine.name, name)
    placed = pl.concat([silver, repeated, refused.select([*PLACE])])
    still = still_there(source, placed)
    # What is in neither, one of them has had, up to where retention has cut it.
    lacking = source.join(placed, on=[*PLACE], how="anti")
    kept = uncut(cut_again, uncut(cut_good, uncut(cut, lacking)))
    excused = lacking.join(kept, on=[*PLACE], how="anti")
    told(f"reading what was sent of {name}")
    made_of = identify(config, [name], _SECONDS)[name]
    checks = [
        only_once(
            f"every record of topic {name} is in {topic.silver.name}"
            f"{f', {again}' if tables.there(again) else ''} or in {topic.quarantine.name}, once",
            source.join(excused, on=[*PLACE], how="anti").select([*PLACE]),
            still,
            deleted=placed.height - still.height + excused.height,
        ),
        sent_once(
            f"topic {topic.dlq} has each reject of {topic.quarantine.name} once",
            config,
            topic.dlq,
            reject_ids(refused),
            made_of,
            removed=partial(_removed, cut, gone),
        ),
        *gone.check(
            {topic.silver.name: silver, again: repeated, topic.quarantine.name: refused}
        ),
    ]
    if topic.tells_apart and tables.there(again):
        checks.append(check_identities(topic, tables, gone))
    if topic.validated is not None:
        good = source.join(silver, on=[*PLACE], how="semi")
        checks += _sent_on(config, topic, topic.validated, good, made_of, cut_good, gone)
    counts = {
        "events": source.height,
        "unique": silver.height,
        "duplicates": repeated.height,
        "rejected": refused.height,
    }
    return checks, Counter(counts)


def _removed(cut: Mapping[int, int], gone: Forgotten, id_: str) -> bool:
    """Tell whether a dead letter is of a record that is forgotten, or may have been cut."""
    place = place_of(id_)
    return gone.has(id_) or (place is not None and place[1] <= cut.get(place[0], -1))


def _sent_on(
    config: Config,
    topic: Enforced,
    validated: str,
    good: pl.DataFrame,
    made_of: str,
    cut: Mapping[int, int],
    forgotten: Forgotten,
) -> list[Check]:
    """Check that a topic has the `good` records of which the other still has any.

    Of those up to where silver is `cut` it may have more than silver has by now, and so of those
    that are `forgotten`.
    """
    partitions = wait_for_partitions(config, validated, _SECONDS)
    rows, values = [], []
    for message in read_to_end(config, validated, dict.fromkeys(partitions, OFFSET_BEGINNING)):
        found = forwarded(message)
        if found is not None and (found.topic, found.made_of) == (topic.topic, made_of):
            rows.append((found.partition, found.offset))
            values.append(message.value())
    deleted = sum(first_offsets(config, validated, partitions, _SECONDS).values())
    sent = pl.DataFrame(rows, schema=PLACE, orient="row")
    sent = sent.with_columns(pl.Series("value_hash", values, pl.Binary()).hash())
    back = pl.col("source_offset") <= pl.col("source_offset").shift().over("source_partition")
    still = still_there(good, forgotten.without(sent))
    more = still.join(uncut(cut, still), on=[*PLACE], how="anti")
    gone = more.join(good, on=[*PLACE], how="anti")
    still = still.join(gone, on=[*PLACE], how="anti")
    return [
        only_once(
            f"topic {validated} has each record of {topic.silver.name} once, as it came",
            good,
            still,
            deleted=sent.height - still.height,
            may_lack=deleted,
        ),
        Check.of(
            f"topic {validated} has each partition's records in their order",
            sent.height,
            sent.filter(back).select([*PLACE]),
        ),
    ]
