"""What was sent: each message once, and of those that nobody expects whether they may be there."""

import polars as pl
import pytest

from operators.connectors.kafka.outgoing import ID_HEADER, SOURCE_ID_HEADER
from ops.verify import topics


class Sent:
    def __init__(self, name: bytes | None, source: bytes = b"source") -> None:
        self._headers = [] if name is None else [(ID_HEADER, name)]
        self._headers.append((SOURCE_ID_HEADER, source))

    def headers(self) -> list[tuple[str, bytes]]:
        return self._headers


def test_only_of_what_is_not_expected_it_is_asked_whether_it_may_be_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before, it was asked of each message, for 0.1 ms each where all events have decisions."""
    names = [b"a", b"b", b"b", b"earlier", b"removed", b"wrong", None, b"\xff"]
    messages = [*map(Sent, names), Sent(b"wrong", b"another topic")]
    monkeypatch.setattr(topics, "_CHUNK", 2)
    monkeypatch.setattr(topics, "wait_for_partitions", lambda *_: [0])
    monkeypatch.setattr(topics, "read_to_end", lambda *_: iter(messages))
    monkeypatch.setattr(topics, "headers_of", lambda message: dict(message.headers()))
    monkeypatch.setattr(topics, "first_offsets", lambda *_: {0: 0})
    asked = []

    def today(name: str) -> bool:
        asked.append(name)
        return name != "earlier"

    found = topics.sent_once(
        "sent", {}, "t", pl.DataFrame({"id": ["a", "b", "lost"]}), "source", today,
        lambda name: name == "removed",
    )  # fmt: skip
    assert sorted(asked) == ["earlier", "removed", "wrong"]
    assert found.compared == 3
    problems = sorted((each["problem"], each["id"] or "") for each in found.examples)
    assert problems == [
        ("missing", "lost"), ("there 2 times", ""), ("there 2 times", "b"), ("unexpected", ""),
        ("unexpected", "wrong"),
    ]  # fmt: skip
