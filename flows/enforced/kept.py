"""Kept: how the tables of an enforced topic are maintained, as its contract says."""

from dataclasses import replace

from flows.enforced.stated import CONTRACT, Kept, Stated
from flows.enforced.topic import Enforced
from flows.streams import upkeep_of
from flows.streams.upkeep import Upkeep
from operators.records.tables import Table


def with_upkeep(topic: Enforced, stated: Stated) -> tuple[Enforced, list[str]]:
    """Return a topic with what is stated of its tables, and what is wrong with that."""
    tables: dict[Kept, Table | None] = {
        "silver": topic.silver,
        "duplicates": topic.duplicates if topic.tells_apart else None,
        "quarantine": topic.quarantine,
        "data_quality": topic.data_quality,
        "schema_drift": topic.schema_drift if topic.written == "avro" else None,
    }
    found: dict[str, Upkeep] = {}
    problems = []
    for name, each in stated.upkeep.items():
        table = tables[name]
        if table is None:
            problems.append(f"{CONTRACT}: upkeep.{name}: there is no such table of this topic")
            continue
        found[table.name] = each.of(upkeep_of(table.name))
        unknown = [column for column in found[table.name].z_order if column not in table.schema]
        if unknown:
            problems.append(
                f"{CONTRACT}: upkeep.{name}: {table.name} has no column {', '.join(unknown)}"
            )
    return replace(topic, upkeep=found), problems
