"""How many dead letters are open, as a flow's metrics tell it while people work on them."""

import math
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from ops.local import Stack
from ops.topics import create_topic
from tests.field import refused
from tests.field.topic import Field, payment
from tests.flows import enforced
from tests.running import Flow, wait_until
from tests.scraped import scrape, served
from tests.servers.ports import lasting_port

METRIC = "millstream_dead_letters_open"
OFTEN = "flows.dead_letters.EVERY=0.5"


def test_what_is_open_is_told_whoever_changes_it_and_at_once_after_a_restart(
    local: Field, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    field, port = local, lasting_port()
    field.create()
    settings = field.settings | served(port, tmp_path)
    for name, value in field.settings.items():
        monkeypatch.setenv(name, value)
    dlq = partial(refused.told, capsys)

    def opened() -> dict[str, float]:
        found = {code: n for (code, _), n in scrape(port, METRIC).items()}
        return {} if any(map(math.isnan, found.values())) else found

    def are(**counts: int) -> bool:
        return {code: n for code, n in opened().items() if n} == counts

    flow = Flow("payments", settings, tmp_path, altered=OFTEN)
    try:
        wait_until(lambda: {"malformed", "bad_magic", "amount_range"} <= opened().keys())
        assert are(), "each from the start, and 0"
        # Ten malformed, three whose currency is written small, one that is nothing.
        field.send(*(refused.truncated(n) for n in range(10)), b'{"a": 1}')
        field.send(*(payment(n, currency="eur") for n in range(20, 23)))
        kinds = {"malformed": 10, "bad_magic": 1}
        wait_until(lambda: sum(opened().values()) == 14)
        (code,) = {code for code, n in opened().items() if n == 3}
        assert are(**kinds, **{code: 3})
        assert sum(each["open"] for each in dlq("summary")) == 14

        dlq("discard --code malformed --why old")
        wait_until(lambda: are(bad_magic=1, **{code: 3}))
        dlq("restore --code malformed --why 'not so old'")
        wait_until(lambda: are(**kinds, **{code: 3}))
        dlq(f"edit --code {code} --set 'currency = upper(currency)' --save --why small")
        dlq(f"replay --code {code} --send")
        wait_until(lambda: are(**kinds))
        wait_until(lambda: field.table("silver/payments").height == 3)
        flow.kill()
        dlq("discard --code bad_magic --why nothing")

        flow = Flow("payments", settings, tmp_path, altered=OFTEN)
        first: list[dict[tuple[str, ...], float]] = []

        def told() -> bool:
            found = scrape(port, METRIC)
            first.extend([found] if found else [])
            return bool(opened())

        wait_until(told)
        # Not a number before it has looked, and never what it is not.
        numbers = [n for each in first for (c, _), n in each.items() if c == "malformed"]
        assert {n for n in numbers if not math.isnan(n)} == {10}
        assert are(malformed=10)
    finally:
        flow.kill()


def test_the_first_slice_tells_it_for_all_and_each_topic_is_told_of(
    stack: Stack, tmp_path: Path
) -> None:
    every, ports = enforced.records(), [lasting_port() for _ in range(2)]
    for name in every:
        create_topic(stack.bootstrap, f"{tmp_path.name}.{name}", enforced.PARTITIONS)
    mine = enforced.settings(stack, tmp_path)
    enforced.send(stack, tmp_path.name, every)
    of = {name: (7, 8) if name == "heartbeats" else (7,) for name in every}
    wanted = {
        name: sum(n % 20 in of[name] for n in range(len(records)))
        for name, records in every.items()
    }
    flows = [
        Flow(
            "enforce",
            mine | {"MILLSTREAM_SLICE": f"{number}/2"} | served(ports[number], tmp_path),
            tmp_path / str(number),
            altered=OFTEN,
        )
        for number in range(2)
    ]
    try:

        def told() -> bool:
            found = Counter[str]()
            for (_, stream), count in scrape(ports[0], METRIC).items():
                found[stream] += 0 if math.isnan(count) else int(count)
            return found == wanted

        wait_until(told)
        assert scrape(ports[1], "millstream_state")
        assert not scrape(ports[1], METRIC)
    finally:
        for each in flows:
            each.kill()
