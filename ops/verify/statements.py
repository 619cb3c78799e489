"""SQL that works windows out anew from silver, for any declared windows.

It shares no code with the flow. A statement's CTEs are, in order: `seen`, the records with the
watermark before each; `judged`, a row for each record and window that it belongs to; `counted`,
those that are not in the table of late records.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from operators.event_time.watermarks import Bounds
from operators.windows import Aggregate, Session, Windows

PLACE: Final = ("source_partition", "source_offset")

_BEFORE: Final = """max({times}) OVER (
        PARTITION BY source_topic, source_partition ORDER BY source_offset
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    )"""

# A record is late for its window if the window's end plus the allowed lateness is at or before
# the watermark of its own partition just before it; for a session, if its own time plus that is.
_SESSIONS: Final = """
SELECT
    *, event_time AS start, event_time + INTERVAL '{gap} microseconds' AS finish,
    coalesce(event_time + INTERVAL '{lateness} microseconds' <= derived, false) AS too_late
FROM seen
"""
_WINDOWS: Final = """
SELECT
    *, start + INTERVAL '{size} microseconds' AS finish,
    coalesce(
        start + INTERVAL '{size} microseconds' + INTERVAL '{lateness} microseconds' <= derived,
        false
    ) AS too_late
FROM (
    SELECT seen.*, date_bin(
        INTERVAL '{every} microseconds', event_time,
        TIMESTAMP '{origin}'
    ){back} AS start
    FROM seen{steps}
)
WHERE event_time < start + INTERVAL '{size} microseconds'
"""

_COUNTED: Final = """
SELECT j.* FROM judged AS j
LEFT ANTI JOIN (SELECT * FROM late WHERE step = '{step}') AS l
    ON j.source_partition = l.source_partition AND j.source_offset = l.source_offset
    AND j.start = l.window_start
"""

# A record begins a session where its key's one before it is the gap or more ago.
_CHAINED: Final = """
SELECT *, sum(opens) OVER (
    PARTITION BY {by} ORDER BY event_time, source_partition, source_offset
    ROWS UNBOUNDED PRECEDING
) AS session
FROM (
    SELECT *, CASE WHEN event_time < lag(event_time) OVER (
        PARTITION BY {by} ORDER BY event_time, source_partition, source_offset
    ) + INTERVAL '{gap} microseconds' THEN 0 ELSE 1 END AS opens
    FROM counted
)
"""


def derived(side: str, columns: Iterable[str], bounds: Bounds) -> str:
    """Return the query for records of a table, with the watermark before each as `derived`.

    It is worked out here as well, not read from the column. It never goes back behind what a bound
    has made it, whatever bound counts next; one by which no record of a partition was judged has
    made it nothing.
    """
    named = ", ".join(dict.fromkeys(["source_topic", *columns]))
    nth, largest, reached = str(len(bounds.before)), [], []
    for number, (_, last) in reversed([*enumerate(bounds.before)]):
        spans = [f"source_partition = {p} AND source_offset <= {last[p]}" for p in sorted(last)]
        nth = f"CASE WHEN {' OR '.join(spans) or 'false'} THEN {number} ELSE {nth} END"
    for number, bound in enumerate([*(bound for bound, _ in bounds.before), bounds.now]):
        made = f"up_to_{number} - INTERVAL '{bound} microseconds'"
        wanted = [("up_to", "nth <=")]
        if number:
            # The records up to the first bound are its own.
            wanted.append(("by", "nth ="))
            made = f"CASE WHEN nth = {number} OR by_{number} IS NOT NULL THEN {made} END"
        for name, its in wanted:
            times = f"CASE WHEN {its} {number} THEN event_time END"
            largest.append(f"{_BEFORE.format(times=times)} AS {name}_{number}")
        reached.append(made)
    judged = f"SELECT {named}, {nth} AS nth FROM {side}"  # noqa: S608 # our own words
    before = f"SELECT {named}, nth, {', '.join(largest)} FROM ({judged})"  # noqa: S608
    return f"SELECT {named}, greatest({', '.join(reached)}) AS derived FROM ({before})"  # noqa: S608


def seen(columns: Iterable[str], bounds: Bounds, *, some_forgotten: bool = False) -> str:
    """Return the CTE `seen`, with these columns of silver.

    Where some were forgotten, silver tells in `forgotten` of which it has the event time alone.
    """
    named = [*PLACE, "event_time", "watermark", *columns]
    return f"seen AS ({but_forgotten('silver', named, bounds, some=some_forgotten)})"


def but_forgotten(side: str, columns: Iterable[str], bounds: Bounds, *, some: bool) -> str:
    """Return the query of `derived`, without what was forgotten if there is any of it."""
    if not some:
        return derived(side, columns, bounds)
    made = derived(side, [*columns, "forgotten"], bounds)
    return f"SELECT * FROM ({made}) WHERE NOT forgotten"  # noqa: S608 # our own words


def judged(windows: Windows) -> str:
    """Return the CTE `judged`."""
    window = windows.window
    if isinstance(window, Session):
        text = _SESSIONS.format(gap=window.gap, lateness=windows.lateness)
    else:
        backs = range(0, window.size, window.every)
        values = ", ".join(f"(INTERVAL '{back} microseconds')" for back in backs)
        origin = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=window.offset)
        # A table of one step would be joined for nothing.
        steps = "" if len(backs) == 1 else f" CROSS JOIN (VALUES {values}) AS steps (back)"
        text = _WINDOWS.format(
            size=window.size, every=window.every, origin=origin.isoformat(), steps=steps,
            back=" - steps.back" if steps else "", lateness=windows.lateness,
        )  # fmt: skip
    return f"judged AS ({text})"


def late_records() -> str:
    """Return the query for the records and windows that `judged` says are late."""
    place = ", ".join(PLACE)
    return (
        f"SELECT {place}, start AS window_start, finish AS window_end "  # noqa: S608 # our own words
        "FROM judged WHERE too_late"
    )


def counted(step: str) -> str:
    """Return the CTE `counted` of the windows of a step."""
    return f"counted AS ({_COUNTED.format(step=step)})"


def panes(windows: Windows) -> list[str]:
    """Return queries for the panes: each has the keys, the bounds and some of the aggregates.

    What can be added up comes in two steps, by a group for each different value first: a set of
    values for each of a million windows would take gigabytes. So there is a query for each column
    whose different values are counted, the first of which has all that is added up, and one for
    first and last values.
    """
    added = {n: a for n, a in windows.aggregates.items() if a.kind in _ADDED}
    sets: dict[str, dict[str, Aggregate]] = {}
    for name, each in windows.aggregates.items():
        if each.kind == "distinct":
            sets.setdefault(each.column, {})[name] = each
    first, *others = sets.items() or [("", {})]
    found = [_in_two_steps(windows, added, *first)]
    found += [_in_two_steps(windows, {}, *each) for each in others]
    ordered = {n: a for n, a in windows.aggregates.items() if a.kind in ("first", "last")}
    return [*found, *([_ordered(windows, ordered)] if ordered else [])]


def unchecked(windows: Windows) -> list[str]:
    """Return the aggregates that `panes` leaves out."""
    checked = (*_ADDED, "distinct", "first", "last")
    return [name for name, each in windows.aggregates.items() if each.kind not in checked]


_ADDED: Final = ("count", "sum", "min", "max", "mean")


def _group(windows: Windows) -> tuple[str, str, list[str], str]:
    """Return what is grouped from, how a pane's start and end are told, and the keys of a pane."""
    keys = list(windows.by)
    if isinstance(windows.window, Session):
        by = ", ".join(keys)
        source = f"({_CHAINED.format(by=by, gap=windows.window.gap)})"
        # The end is that of the last record, the gap included.
        return source, "min(start)", [*keys, "session"], "max(finish)"
    return "counted", "start", [*keys, "start", "finish"], "finish"


def _picked(each: Aggregate, value: str) -> str:
    return f"CASE WHEN {each.where} THEN {value} END" if each.where else value


def _in_two_steps(
    windows: Windows, added: Mapping[str, Aggregate], column: str, sets: Mapping[str, Aggregate]
) -> str:
    source, begin, keys, end = _group(windows)
    session = "session" in keys
    inner, outer = [], []
    for name, each in added.items():
        one = _picked(each, each.column or "1")
        if each.kind == "count":
            inner.append(f"count({one}) AS {name}")
            outer.append(f"CAST(sum({name}) AS BIGINT) AS {name}")
        elif each.kind == "mean":
            inner += [f"sum({one}) AS {name}_total", f"count({one}) AS {name}_n"]
            outer.append(
                f"CAST(sum({name}_total) AS DOUBLE) / CAST(nullif(sum({name}_n), 0) AS DOUBLE) "
                f"AS {name}"
            )
        else:
            inner.append(f"{each.kind}({one}) AS {name}")
            outer.append(f"{each.kind}({name}) AS {name}")
    for name, each in sets.items():
        inner.append(f"count({_picked(each, column)}) AS {name}")
        outer.append(f"count(CASE WHEN {name} > 0 THEN 1 END) AS {name}")
    if session:
        inner += ["min(start) AS first_start", "max(finish) AS last_finish"]
        begin, end = "min(first_start)", "max(last_finish)"
    deep = ", ".join([*keys, *([column] if column else [])])
    by = ", ".join(windows.by)
    return (
        f"SELECT {by}, {begin} AS window_start, {end} AS window_end, {', '.join(outer)} "  # noqa: S608 # our own words
        f"FROM (SELECT {deep}, {', '.join(inner)} FROM {source} GROUP BY {deep}) "
        f"GROUP BY {', '.join(keys)}"
    )


def _ordered(windows: Windows, ordered: Mapping[str, Aggregate]) -> str:
    source, begin, keys, end = _group(windows)
    order = "event_time {0}, source_partition {0}, source_offset {0}"
    values = [
        f"first_value({_picked(each, each.column)} ORDER BY "
        f"{order.format('ASC' if each.kind == 'first' else 'DESC')}) "
        f"FILTER (WHERE {_picked(each, each.column)} IS NOT NULL) AS {name}"
        for name, each in ordered.items()
    ]
    return (
        f"SELECT {', '.join(windows.by)}, {begin} AS window_start, {end} AS window_end, "  # noqa: S608 # our own words
        f"{', '.join(values)} FROM {source} GROUP BY {', '.join(keys)}"
    )
