"""Customers, as a database's log tells how they change: what is declared of them."""

from flows.streams.stream import Stream
from operators.changes import Changes

CUSTOMERS = Stream(
    name="customers",
    record="customer",
    id="customer_id",
    key="customer_id",
    changes=Changes(("customer_id",), "source.lsn", keeps="history", envelope="debezium"),
)
