from dataclasses import replace

import pytest

from flows.streams import CLICKS, CUSTOMERS, ENRICHED, TERMINALS
from flows.streams.lookups import Lookup


def test_lookups_that_make_no_table_are_refused():
    customers, terminals = ENRICHED.lookups
    clicks = Lookup(CLICKS, ("customer_id",), {"ad": "ad_id"})
    for lookups, words in (
        ((customers, customers), "reads one of payments, customers, customers twice"),
        ((clicks,), "looks up clicks, which is of no changes"),
        ((replace(customers, columns={"country": "country"}),), "two columns country"),
        ((customers, replace(terminals, columns=customers.columns)), "two columns customer_"),
    ):
        with pytest.raises(ValueError, match=words):
            replace(ENRICHED, lookups=lookups)


def test_what_is_told_and_what_makes_it_is_a_definition_and_how_a_table_keeps_it_is_not():
    kept = replace(CUSTOMERS, changes=replace(CUSTOMERS.changes, keeps="current", buckets=8))
    other = replace(CUSTOMERS, changes=replace(CUSTOMERS.changes, time="envelope.ts_ms"))
    customers, terminals = ENRICHED.lookups
    assert TERMINALS.name in ENRICHED.definition
    for stream, same in ((kept, True), (other, False)):
        changed = replace(ENRICHED, lookups=(replace(customers, stream=stream), terminals))
        assert (changed.definition == ENRICHED.definition) is same
    assert replace(ENRICHED, columns=ENRICHED.columns[:3]).definition != ENRICHED.definition
