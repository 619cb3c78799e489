"""Letters: how many records were refused, and why, from the quarantine's own columns."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from operators.connectors.delta.look import Look
from operators.connectors.delta.reading import query
from operators.connectors.delta.table import reaching
from ops.status.flow_status import Letters

HOUR: Final = timedelta(hours=1)
# Two columns of few values each.
_BY_CODE: Final = (
    "SELECT code, count(*) AS every, "
    "count(*) FILTER (WHERE written_at >= '{since}') AS late FROM rows GROUP BY code"
)

_kept: dict[str, tuple[int, datetime, Letters]] = {}


def letters(quarantine: Look, others: Sequence[Look], now: datetime) -> Letters:
    """Return what a quarantine has; `others` are the tables that have all other records.

    What a version of the table came to is kept for a minute, for who looks again and again.
    Raises StorageUnavailableError.
    """
    uri = quarantine.handle.table_uri
    version, at, found = _kept.get(uri, (-1, now, None))
    if found is None or version != quarantine.version or now - at > timedelta(minutes=1):
        with reaching(uri):
            found = _count(quarantine, others, now - HOUR)
        _kept[uri] = quarantine.version, now, found
    return found


def together(found: Sequence[Letters]) -> Letters:
    """Return what several quarantines have, of which there is one at least."""
    codes: dict[str, dict[str, int]] = {}
    for code, each in (pair for letters in found for pair in letters.codes.items()):
        whole = codes.setdefault(code, dict.fromkeys(each, 0))
        for name, count in each.items():
            whole[name] += count
    return Letters(
        ", ".join(each.table for each in found),
        sum(each.all for each in found),
        sum(each.last_hour for each in found),
        dict(sorted(codes.items(), key=lambda pair: (-pair[1]["all"], pair[0]))),
        sum(each.records for each in found),
    )


def _count(quarantine: Look, others: Sequence[Look], since: datetime) -> Letters:
    codes: dict[str, dict[str, int]] = {}
    if quarantine.rows:
        rows = query(quarantine.handle, _BY_CODE.format(since=since.isoformat()))
        for code, every, late in rows.sort("every", "code", descending=[True, False]).rows():
            codes[str(code)] = {"all": every, "last_hour": late}
    last = sum(each["last_hour"] for each in codes.values())
    records = last + sum(each.rows_since(since) for each in others)
    return Letters(quarantine.table.name, quarantine.rows, last, codes, records)
