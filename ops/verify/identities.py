"""What was sent again of an enforced topic: once in silver, whoever has sent it as well."""

import polars as pl

from flows.enforced.topic import Enforced
from operators.records.identities import ORIGIN
from ops.verify.forgotten import Forgotten
from ops.verify.report import Check
from ops.verify.tables import Tables, uncut
from ops.verify.topics import PLACE

_BY = "source_partition"
_AT = "source_offset"


def check_identities(topic: Enforced, tables: Tables, gone: Forgotten) -> Check:
    """Check that of an id that was sent again silver has one record behind the reject.

    And that each duplicate is of a record that silver has, unless that is cut or `gone`.
    """
    id_ = topic.told_by
    kinds = {**PLACE, id_: topic.silver.schema[id_], ORIGIN: pl.String()}
    silver = tables.read(topic.silver.name, kinds)
    behind = pl.col(ORIGIN).str.extract(r"/(\d+)$").cast(pl.Int64, strict=False)
    sent = silver.filter(pl.col(ORIGIN).is_not_null()).select(
        _BY, id_, again=_AT, behind=pl.when(behind < pl.col(_AT)).then(behind).otherwise(-1)
    )
    twice = silver.join(sent, on=[_BY, id_]).filter(
        pl.col(_AT) != pl.col("again"), pl.col(_AT) > pl.col("behind")
    )
    places = {**PLACE, "first_offset": pl.Int64()}
    repeated = tables.read(topic.duplicates.name, places)
    there = pl.concat([silver.select([*PLACE]), gone.rows.select([*PLACE])])
    lacking = repeated.join(there, left_on=[_BY, "first_offset"], right_on=[*PLACE], how="anti")
    cut = tables.cut(topic.silver.name, topic.topic)
    firsts = lacking.select(_BY, source_offset="first_offset", repeats=_AT)
    problems = [
        twice.select(*PLACE, problem=pl.lit("in silver beside what was sent again")),
        uncut(cut, firsts).select(_BY, _AT, problem=pl.lit("repeated, and not in silver")),
    ]
    return Check.of(
        f"{topic.silver.name} has what was sent again once, by {id_}",
        sent.height + repeated.height,
        pl.concat(problems),
    )
