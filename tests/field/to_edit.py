"""Bad records to be edited: what is wrong with each, and a flow that refuses them."""

from confluent_kafka import Producer

from flows.settings import PREFIX
from operators.avro.framing import ID_HEADER
from operators.records.quarantine import ATTEMPTS_HEADER
from tests.field import refused
from tests.field.refused import truncated
from tests.field.test_replay import know, newer
from tests.field.test_rule_statuses import state
from tests.field.topic import Field, payment


def refuse(field: Field) -> None:
    """Send bad records, each at the offset that is its number, and have a flow refuse them."""
    rules = field.folder / "rules"
    rules.mkdir()
    field.settings[f"{PREFIX}RULES"] = str(rules)
    know(field)
    state(rules, "numbered", when="CAST(device_id AS BIGINT) > 5")
    field.create()
    field.send(*(payment(n, currency="eur") for n in range(3)))
    field.send(payment(3, country=" be"), payment(4, country="de "))
    field.send(truncated(5), None)
    framed = payment(7, amount_minor=-5)
    producer = Producer({"bootstrap.servers": field.bootstrap})
    headers = [(ATTEMPTS_HEADER, b"2"), (ID_HEADER, framed[:5]), ("own", b"1")]
    producer.produce(field.topic, framed[5:], b"k", 0, headers=headers)
    assert producer.flush(30) == 0
    field.send(b'{"a": 1}', payment(9), payment(10, device_id="x"), newer(11))
    refused.run(field)


MISTAKES = [
    ("edit --editor", 2, "--editor and --as are for one record: name it"),
    ("edit payments/0/99 --undo", 1, "no reject of payments/0/99; list shows which"),
    ("edit --set x --code y", 0, "outcome"),
    ("edit --set x", 2, "'x' is no assignment such as country = upper(country)"),
    ("edit --set 'no = 1'", 2, "there is no field no; there are payment_id, "),
    ("edit --patch nowhere.json", 1, "nowhere.json: No such file"),
    ("edit --patch '[5]'", 2, "this is no JSON patch (RFC 6902)"),
    ("edit --set 'amount_minor = currency'", 1, "conversion from `str` to `i64` failed"),
    ("approve no-such", 1, "there is no edit no-such; list --where 'edit IS NOT NULL'"),
    ("discard --why x", 2, "name a record or a filter; to mean all, --where true"),
    ("replay --rate x", 2, "x is not 1 or more"),
    ("replay --wait x", 2, "'x' is no duration such as 5m"),
]
"""Commands with their status and a part of the line that they say."""
