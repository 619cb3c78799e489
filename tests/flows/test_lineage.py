"""What tables are made of, as it is declared."""

import pytest

from flows import settings as settings_
from flows.catalog import flows
from flows.lineage import Column, Field, lineage_of
from flows.loading import rules_of
from flows.streams import PAYMENTS

SETTINGS = {
    "MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS": "broker:9092",
    "MILLSTREAM_REDIS_URL": "redis://redis/0",
    "MILLSTREAM_DELTA_ROOT": "tables",
    "MILLSTREAM_TOPIC": "paid",
}


def lineage(**more: str):
    """Return what each table is made of, by its name; `more` are settings without MILLSTREAM_."""
    own = {f"MILLSTREAM_{name}": value for name, value in more.items()}
    settings = settings_.load(SETTINGS | own)
    return {
        each.table.name: each
        for flow in flows(settings)
        for each in lineage_of(flow, {s.name: rules_of(s, settings) for s in flow.reads})
    }


def of(topic: str, *names: str) -> tuple[Field, ...]:
    return tuple(Field(topic, name) for name in names)


def test_a_field_goes_into_silver_windows_and_what_is_joined():
    found = lineage()
    amount = of("paid", "amount_minor")
    assert found["silver/payments"].columns["amount_minor"] == Column(amount, "identity")
    assert found["gold/payment_outcomes"].columns["amount_minor"].of == amount
    charged = found["gold/payment_outcomes"].columns["chargeback_amount_minor"]
    assert charged == Column(of("chargebacks", "amount_minor"), "identity")
    largest = found["gold/terminal_minute"].columns["amount_minor_max"]
    assert largest.of == of("paid", "terminal_id", "amount_minor")
    assert (largest.how, largest.by) == ("aggregation", "max in terminal_minute")
    clicks = found["gold/campaign_5m"].columns["conversions"]
    assert clicks.of == of("clicks", "campaign_id", "kind")  # counted where the kind is one
    assert found["gold/payment_outcomes"].topics == ("chargebacks", "paid")
    assert found["quarantine/chargebacks"].topics == ("chargebacks",)


def test_features_are_of_what_they_read_also_by_way_of_others_and_rules_of_features():
    drafts = PAYMENTS.rules.parent / "drafts"
    found = lineage(RULES=str(drafts), LABELS_TOPIC="told")
    silver = found["silver/payments"]
    # A count of payments beyond the card's own mean, which is of its amounts.
    assert silver.columns["card_unusual_7d"].of == of("paid", "card_id", "amount_minor")
    hidden = silver.columns["terminal_frauds_7d"]
    assert set(hidden.of) == {
        *of("paid", "terminal_id"), *of("told", "terminal_id", "verdict")
    }  # fmt: skip
    assert silver.topics == ("paid", "told")
    assert silver.columns["card_speed_kmh"].of == of("paid", "card_id", "latitude", "longitude")
    assert found["gold/alerts"].columns["score"] == Column(
        (), "transformation", "rules"
    )  # drafts
    live = lineage()["gold/alerts"].columns["score"]
    assert {*of("paid", "amount_minor", "longitude")} <= {*live.of}


def test_what_changes_come_to_is_of_what_orders_them_too():
    found = lineage()
    terminals = found["gold/terminals"].columns
    assert terminals["merchant_category"] == Column(
        of("terminals", "merchant_category"), "identity"
    )
    assert terminals["changed_at"].of == of("terminals", "event_time")
    assert terminals["change_sequence"].of == of("terminals", "version")
    assert terminals["deleted"] == Column(
        of("terminals", "status"), "transformation", "changes"
    )
    since = found["gold/customers"].columns["effective_from"]
    assert since == Column(of("customers", "customer_id"), "aggregation", "changes")


def test_what_is_looked_up_is_of_the_rows_that_it_is_of():
    each = lineage(CUSTOMERS_TOPIC="clients")["gold/payments_enriched"]
    assert (each.flow, each.topics) == ("enriched", ("clients", "paid", "terminals"))
    assert each.columns["country"] == Column(of("paid", "country"), "identity")
    assert each.columns["customer_country"] == Column(of("clients", "country"), "identity")
    assert each.columns["terminal_as_of"].of == of("terminals", "event_time")


def test_every_flow_and_every_table_is_there_and_columns_are_the_tables_own():
    settings = settings_.load(SETTINGS)
    every = flows(settings)
    found = lineage()
    assert [*found] == [table.name for flow in every for table in flow.tables]
    for each in found.values():
        assert each.columns.keys() <= each.table.columns.keys()
        assert {one.topic for column in each.columns.values() for one in column.of} <= {
            *each.topics
        }


@pytest.mark.parametrize("table", ["silver/payments", "silver/clicks", "silver/chargebacks"])
def test_of_silver_only_what_tells_of_the_record_as_a_whole_is_of_no_field(table):
    each = lineage()[table]
    without = each.table.columns.keys() - each.columns.keys()
    assert without <= {
        "source_topic", "source_partition", "source_offset", "kafka_timestamp", "watermark",
        "event_date", "repairs", "listed", "woken_at", "_rest",
    }  # fmt: skip
