"""How far a backfill of some days reads."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from deltalake import write_deltalake

from flows import settings as settings_
from flows.backfilling import ends_of
from flows.settings import Settings
from flows.streams import PAYMENTS
from tests.field.test_features_by_another_key import DISTINCT
from tests.flows.test_settings import NEEDED

DAY = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Give settings of a backfill of the first day from silver with a payment an hour."""
    hours = [DAY + timedelta(hours=number) for number in range(60)]
    rows = pl.DataFrame(
        {
            "source_topic": "payments",
            "source_partition": 0,
            "source_offset": range(60),
            "event_time": hours,
            "watermark": [None, *hours[:-1]],
        }
    )
    write_deltalake(str(tmp_path / "silver" / "payments"), rows)
    given = {"BACKFILL_FROM": str(tmp_path), "BACKFILL_TO": "2026-03-02"}
    return settings_.load(NEEDED | {f"MILLSTREAM_{n}": value for n, value in given.items()})


def test_to_where_the_longest_window_of_it_has_closed(settings: Settings) -> None:
    # Windows of an hour may begin in its last minute, and the watermark is an hour behind.
    assert ends_of(settings, settings.of(PAYMENTS), PAYMENTS) == {0: 26}
    late = settings.model_copy(update={"allowed_lateness": timedelta(hours=5)})
    assert ends_of(late, late.of(PAYMENTS), PAYMENTS) == {0: 31}
    alone = late.model_copy(update={"backfill_silver_alone": True})
    assert ends_of(alone, alone.of(PAYMENTS), PAYMENTS) == {0: 25}


def test_all_of_it_where_records_wait_for_other_partitions(
    settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "rules" / "features").mkdir(parents=True)
    (tmp_path / "rules" / "features" / "terminal_cards_1h.yaml").write_text(DISTINCT)
    stream = PAYMENTS.with_rules(tmp_path / "rules")
    assert ends_of(settings, settings.of(stream), stream) == {}
