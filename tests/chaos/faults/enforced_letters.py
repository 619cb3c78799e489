"""Records that an enforced topic refuses, repaired and sent again: as if they had been good.

Some of their producers repair them too: before the replay, or behind it.
"""

import shutil
from collections.abc import Iterator
from typing import Final

import orjson
import polars as pl
from confluent_kafka import Producer

from flows.enforced.loading import load
from flows.streams import Stream
from operators.connectors.kafka.client import read_to_end
from operators.records.identities import ORIGIN
from operators.records.tables import COORDINATES
from tests.chaos.faults import slices
from tests.chaos.faults.letters import Round
from tests.chaos.faults.watching import GIVE_UP
from tests.chaos.flow import Flow, Shape
from tests.chaos.tool import APPROVE_POINTS, EDIT_POINTS, OFTEN_PASSED, REPLAY_POINTS
from tests.chaos.worker import FORWARD_POINTS, POINTS
from tests.chaos.world import PARTITIONS, ChaosError, Result, World
from tests.compare import Difference, read_table
from tests.flows.enforced import order
from tests.topics import TO_THE_END

_READS: Final = (*FORWARD_POINTS, *(each for each in POINTS if each != "mid dedup call"))
_SENDING: Final = OFTEN_PASSED[::-1]
_EACH: Final = 3
"""Of so many records of the first half one is spoilt."""
_CUT: Final = 2
_COMPARED: Final = ("silver/orders", "validated")
_OF_PLACE: Final = (*COORDINATES, "kafka_timestamp", "ingest_date", ORIGIN)


def repaired(world: World, result: Result, times: int) -> None:
    """Orders broken, quarantined, edited, approved and replayed, all of it killed on its way."""
    while result.times < times and not result.problems:
        _OfOrders(world, result, times - result.times).run()


class _OfOrders(Round):
    points = (
        *_SENDING, *(each for each in REPLAY_POINTS if each not in _SENDING),
        *EDIT_POINTS, *APPROVE_POINTS, *_READS,
    )  # fmt: skip
    reads = _READS
    which = ("--stream", "orders")

    def named(self, name: str) -> str:
        return f"{super().named(name)}.orders"

    @property
    def stream(self) -> Stream:
        (topic,) = load(self._flow.environ).topics
        return topic

    def make(self) -> Flow:
        size = self._world.records // 2
        self._good = [order(n, 1 + n % 2) for n in range(size)]
        self._half = size // 2
        self._spoilt = range(0, self._half, _EACH)
        self._cut = [*self._spoilt[:_CUT]]
        environ = self._environ("letters", self._topics[0])
        return Flow(self._world.folder / f"orders{self._result.runs}", environ)

    def _environ(self, label: str, topic: str) -> dict[str, str]:
        """Return the settings of a flow that enforces a topic alone."""
        name, number = topic.removesuffix(".orders"), self._result.runs
        run = slices.Run(self._world, name, f"orders-{label}{number}")
        for other in ("heartbeats", "readings"):
            shutil.rmtree(run.declared / other)
        contract = run.declared / "orders" / "contract.yaml"
        contract.write_text(f"id: order_id\napproval: true\n{contract.read_text()}")
        return run.environ

    def _bad(self, number: int) -> bytes:
        if number in self._cut:
            return self._good[number][:30]
        version = 1 + number % 2
        if number // _EACH % 2:
            return order(number, version, amount=2_000_000 + number + 0.5)
        return order(number, 2, currency="eur")

    def _mended(self, number: int) -> bytes:
        """Return a spoilt record as its producer and its repair have it."""
        if number in self._cut or number // _EACH % 2:
            return self._good[number]
        return order(number, 2)

    def send(self, half: int) -> None:
        spoilt = {*self._spoilt}
        numbers = range(self._half) if half == 0 else range(self._half, len(self._good))
        values = [self._bad(n) if n in spoilt else self._good[n] for n in numbers]
        # A third of them their producers mend before anybody looks, and a third afterwards.
        again = [n for at, n in enumerate(self._spoilt) if at % 3 == half]
        every = [*zip(numbers, values, strict=True), *((n, self._mended(n)) for n in again)]
        _send(self._world.bootstrap, self._topics[0], every)

    def edits(self) -> Iterator[list[str]]:
        save = ["--save", "--why", "an old shop", *self.which]
        for number in self._cut:
            file = self._flow.folder / f"{number}.json"
            file.write_bytes(self._good[number])
            place = f"{self._topics[0]}/{number % PARTITIONS}/{number // PARTITIONS}"
            yield ["edit", place, "--as", str(file), *save[:3]]
        amount = "amount = amount - 2000000"
        yield ["edit", "--code", "amount_range", "--set", amount, *save]
        # What breaks its schema has no columns to set.
        patch = '[{"op": "replace", "path": "/currency", "value": "EUR"}]'
        yield ["edit", "--code", "schema_enum", "--patch", patch, *save]

    def compare(self) -> None:
        world, result = self._world, self._result
        good = [
            (n, self._mended(n) if n in self._spoilt else value)
            for n, value in enumerate(self._good)
        ]
        _send(world.bootstrap, self._topics[1], good)
        whole = Flow(
            world.folder / f"orders-whole{result.runs}", self._environ("whole", self._topics[1])
        )
        whole.environ |= {k: v for k, v in TO_THE_END.items() if "STOP" in k}
        whole.start(Shape(batch=20_000, epoch=10))
        if (codes := whole.wait(GIVE_UP)) != [0]:
            raise ChaosError(f"the undisturbed run: {codes}: {whole.said()}")
        expected, actual = (_of_orders(each) for each in (whole, self._flow))
        result.count(self._flow)
        both = [{n: each[n] for n in _COMPARED} for each in (expected, actual)]
        result.compared(Difference.of(*both))
        refused, late = actual["quarantine/orders"].height, {*self._spoilt[1::3]}
        if refused != len(self._spoilt):
            result.problems.append(f"{refused} rejects of {len(self._spoilt)}")
        repeated = {
            int(n.removeprefix("order-"))
            for n in actual["silver/orders_duplicates"]["order_id"]
        }
        if not late <= repeated <= {*self._spoilt}:
            result.problems.append(f"duplicates are {sorted(repeated)}, and not {sorted(late)}")
        result.problems += slices.verified(self._flow.environ)

    def drop(self) -> None:
        if not self._result.problems:
            shutil.rmtree(self._flow.folder, ignore_errors=True)


def _of_orders(flow: Flow) -> dict[str, pl.DataFrame]:
    """Return what tables and the validated topic have of orders, wherever their records came."""
    loaded = load(flow.environ)
    (topic,) = loaded.topics
    found = {each.name: read_table(loaded.settings, each) for each in topic.ledger.counted}
    silver = topic.silver.name
    found[silver] = found[silver].drop(_OF_PLACE, strict=False)
    assert topic.validated is not None
    ends = dict.fromkeys(range(PARTITIONS), 0)
    values = [
        repr(orjson.loads(m.value()))
        for m in read_to_end(loaded.settings.kafka, topic.validated, ends)
    ]
    found["validated"] = pl.DataFrame({"value": sorted(values)})
    return found


def _send(bootstrap: str, topic: str, every: list[tuple[int, bytes]]) -> None:
    """Send records, each to the partition of its number."""
    producer = Producer({"bootstrap.servers": bootstrap, "log_level": 0})
    for number, value in every:
        producer.produce(topic, value, None, number % PARTITIONS)
    producer.flush(60)
