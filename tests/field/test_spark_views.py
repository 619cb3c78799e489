"""Spark runs the views that are written for it, on tables of a flow, and finds what DuckDB does."""

from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pytest

from flows import settings as settings_
from ops.bi.dialects import written
from ops.bi.duck import opened
from ops.bi.views import views
from tests.field.topic import Field, payments
from tests.servers.spark import missing, spark

LATER = 3 * 86_400


def statements(root: str) -> Iterator[str]:
    """Yield the dialect's statements, each in one line, without comments."""
    for _, text in written("spark", root):
        lines = [line for line in text.splitlines() if not line.lstrip().startswith("--")]
        for each in " ".join(lines).split(";"):
            if each.strip():
                yield each.strip()


def plain(value: Any) -> Any:
    """Return a value as both engines may be compared by."""
    if isinstance(value, datetime | date):
        return value.isoformat()[:10]
    if isinstance(value, float | Decimal | int) and not isinstance(value, bool):
        return round(float(value), 6)
    return value


@pytest.mark.slow
@pytest.mark.skipif(missing() is not None, reason=str(missing()))  # no Java or Maven
def test_each_view_has_the_rows_that_duckdb_finds(local: Field) -> None:
    local.create(2)
    # Amounts for each segment, several days, and records that are refused.
    local.send(*payments(0, 200), b"no payment", partition=0)
    local.send(*payments(300, 400, amount_minor=2_000_000), partition=1)
    local.send(*payments(LATER, LATER + 60, merchant_category="7995"), partition=0)
    flow = local.flow(STOP_AT_END="true", CLOSE_WINDOWS_AT_END="true")
    assert flow.wait() == 0, flow.said()
    root = settings_.load(local.settings).delta_root
    duck, lacking = opened(root)
    assert lacking == []
    with spark(local.folder) as engine:
        engine.sql("SET spark.sql.session.timeZone = UTC")
        for each in statements(root):
            engine.sql(each)
        seen = 0
        for view in views():
            cursor = duck.execute(f"SELECT * FROM bi.{view.name}")
            names = [column[0] for column in cursor.description]
            expected = [[plain(value) for value in row] for row in cursor.fetchall()]
            found = [
                [plain(row.get(name)) for name in names]
                for row in engine.sql(f"SELECT * FROM bi.{view.name}")
            ]
            assert sorted(map(repr, found)) == sorted(map(repr, expected)), view.name
            seen += len(found)
    assert seen > len(views())
