"""The newest revision of each window, as SQL on its gold table."""

from collections.abc import Iterable


def newest_rows(table: str, columns: Iterable[str], *, sessions: bool) -> str:
    """Return SQL for the rows of `table` that no other supersedes; `columns` are the table's.

    The columns before `revision` are the window's key and bounds. Of sessions a row is
    superseded by one that contains its bounds, too.
    """
    columns = list(columns)
    window = columns[: columns.index("revision")]
    if not sessions:
        over, stands = f"PARTITION BY {', '.join(window)}", "revision = newest"
        told = "max(revision)"
    else:
        # Those that contain a row come before it, and those before it that reach it contain it.
        over = (
            f"PARTITION BY {', '.join(window[:-2])} "
            "ORDER BY window_start, window_end DESC, revision DESC "
            "GROUPS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING"
        )
        told, stands = "max(window_end)", "newest IS NULL OR newest <= window_start"
    return (
        f"SELECT {', '.join(columns)} FROM "  # noqa: S608 # our own names
        f"(SELECT *, {told} OVER ({over}) AS newest FROM {table}) AS revised "
        f"WHERE {stands}"
    )
