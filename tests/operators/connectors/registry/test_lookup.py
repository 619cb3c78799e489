"""What a registry knows, does not know, and does not know yet, in seconds of a clock."""

import logging
import uuid
from pathlib import Path
from typing import Any

import pytest

from operators.connectors.registry import lookup as registry_lookup
from operators.connectors.registry.errors import (
    RegistryAwayError,
    RegistryDeniedError,
    RegistryUnavailableError,
)
from operators.connectors.registry.kept import KeptSchemas
from operators.connectors.registry.lookup import (
    NOT_YET_SECONDS,
    UNKNOWN_SECONDS,
    RegistryLookup,
)
from operators.connectors.shutdown import Shutdown

HERE = "http://registry"
ONE, TWO = {"type": "record", "name": "one"}, {"type": "record", "name": "two"}


class World:
    """A registry whose schemas are there from a time on, and a clock that sleeping turns."""

    where = HERE

    def __init__(self) -> None:
        self.now, self.takes = 0.0, 0.001
        self.since: dict[Any, tuple[float, Any]] = {}
        self.away: tuple[float, float] = (0.0, 0.0)
        self.denies = False
        self.asked: list[Any] = []
        self.shutdown = Shutdown()

    def check(self) -> None:
        self.now += self.takes
        if self.denies:
            raise RegistryDeniedError("HTTP 401: Unauthorized")
        if self.away[0] <= self.now < self.away[1]:
            raise RegistryAwayError("HTTP 503: Forwarding error")

    def fetch(self, schema_id: Any) -> Any:
        self.asked.append(schema_id)
        self.check()
        since, schema = self.since.get(schema_id, (float("inf"), None))
        if self.now < since:
            raise KeyError(schema_id)
        return schema

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def lookup(self, folder: Path | None = None, **more: Any) -> RegistryLookup:
        return RegistryLookup(
            self,
            KeptSchemas(folder, self.where),
            clock=lambda: self.now,
            sleep=self.sleep,
            shutdown=self.shutdown,
            **more,
        )


@pytest.fixture
def world() -> World:
    return World()


def unknown(lookup: RegistryLookup, schema_id: Any) -> KeyError:
    with pytest.raises(KeyError) as raised:
        lookup(schema_id)
    return raised.value


def test_a_schema_that_is_registered_soon_is_waited_for(world: World) -> None:
    world.since[1] = 3.0, ONE
    lookup = world.lookup()
    assert lookup(1) == ONE
    assert 3.0 <= world.now < 4.1
    assert lookup(1) == ONE
    assert len(world.asked) == len(set(world.asked)) + world.asked.count(1) - 1 < 10


def test_what_is_never_registered_is_unknown_after_ten_seconds_and_then_at_once(
    world: World,
) -> None:
    lookup = world.lookup()
    unknown(lookup, 1)
    assert NOT_YET_SECONDS <= world.now < NOT_YET_SECONDS + 1
    asked, now = len(world.asked), world.now
    unknown(lookup, 1)
    assert (len(world.asked), world.now) == (asked, now)
    # In time it is asked for again, and waited for no more.
    world.now += UNKNOWN_SECONDS
    now = world.now
    unknown(lookup, 1)
    assert (len(world.asked), world.now) == (asked + 1, pytest.approx(now + world.takes))
    world.since[1] = 0.0, ONE
    unknown(lookup, 1)
    world.now += UNKNOWN_SECONDS
    assert lookup(1) == ONE


@pytest.mark.slow
def test_ten_thousand_made_up_ids_cost_half_a_minute_and_hide_no_real_one(world: World) -> None:
    world.takes = 0.001
    world.since[7] = 0.0, ONE
    lookup = world.lookup()
    for made_up in range(100, 10_100):
        unknown(lookup, made_up)
    assert world.now < NOT_YET_SECONDS + 10_000 * world.takes + 5
    assert lookup(7) == ONE


def test_a_slow_registry_is_not_asked_for_ten_thousand_made_up_ids(world: World) -> None:
    world.takes = 0.05
    lookup = world.lookup()
    for made_up in range(10_000):
        error = unknown(lookup, made_up)
    assert "was not asked for" in error.args[1]
    assert len(world.asked) < 1_000
    assert world.now < 60
    # What was not asked for is not taken for unknown.
    world.since[9_999] = 0.0, TWO
    world.now += 60
    assert lookup(9_999) == TWO


@pytest.mark.parametrize("schema_id", [0, 2**31, 2**32 - 1])
def test_a_number_that_no_registry_gives_is_asked_for_and_not_waited_for(
    world: World, schema_id: int
) -> None:
    """The local stack's does, hence the question."""
    unknown(world.lookup(), schema_id)
    assert world.asked == [schema_id]


def test_waiting_is_rationed_by_the_minute(world: World) -> None:
    lookup = world.lookup()
    unknown(lookup, 1)
    began = world.now
    unknown(lookup, 2)
    assert world.now - began == pytest.approx(world.takes)
    world.now += 60
    began = world.now
    unknown(lookup, 3)
    assert world.now - began >= NOT_YET_SECONDS


def test_memory_of_unknown_ids_is_bounded(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_lookup, "_MAX_UNKNOWN", 3)
    lookup = world.lookup()
    for schema_id in (1, 2, 3, 4):
        unknown(lookup, schema_id)
    asked = len(world.asked)
    for schema_id in (2, 3, 4):
        unknown(lookup, schema_id)
    assert len(world.asked) == asked
    unknown(lookup, 1)
    assert len(world.asked) > asked


def test_an_outage_is_waited_for_and_is_no_time_of_an_unknown_id(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.away, world.since = (0.0, 70.0), {1: (75.0, ONE)}
    assert world.lookup()(1) == ONE
    assert 75 <= world.now < 80
    texts = [record.message for record in caplog.records]
    assert len([text for text in texts if text.startswith("waiting for schema registry")]) == 2
    assert "schema registry http://registry is back after" in " ".join(texts)


@pytest.mark.parametrize("denies", [True, False])
def test_after_two_minutes_it_gives_up(world: World, denies: bool) -> None:
    world.away, world.denies = (0.0, 1e9), denies
    with pytest.raises(RegistryUnavailableError, match=r"HTTP .*tried for 1\d\d s.*MILLSTREAM"):
        world.lookup()(1)
    assert 100 < world.now < 125


def test_told_to_end_it_stops_waiting_and_refuses_nothing_early(world: World) -> None:
    world.shutdown.requested = True
    with pytest.raises(RegistryUnavailableError, match="nothing is lost"):
        world.lookup()(1)
    assert world.now < 1


def test_at_the_start_a_registry_is_waited_for(world: World) -> None:
    world.away = 0.0, 3.0
    world.lookup().begin(10)
    assert world.now >= 3
    world.away = 0.0, 1e9
    with pytest.raises(RegistryUnavailableError, match="503"):
        world.lookup().begin(10)
    world.denies, now = True, world.now
    with pytest.raises(RegistryUnavailableError, match=r"401.*SCHEMA_REGISTRY_TOKEN"):
        world.lookup().begin(10)
    assert world.now == pytest.approx(now + world.takes)


def test_what_was_found_outlives_a_restart_while_the_registry_is_away(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, guid = tmp_path / "schemas", uuid.uuid4()
    world.since = {1: (0.0, ONE), guid: (0.0, TWO)}
    first = world.lookup(folder)
    first.begin(10)
    assert (first(1), first(guid)) == (ONE, TWO)
    world.away, now = (0.0, 1e9), world.now
    again = world.lookup(folder)
    again.begin(10)
    assert (again(1), again(guid)) == (ONE, TWO)
    assert world.now < now + 1
    assert "going on without it, with the 2 schemas" in caplog.text
    # Another registry's ids are other schemas'.
    world.where = "http://another"
    with pytest.raises(RegistryUnavailableError):
        world.lookup(folder).begin(10)


def test_a_registry_that_gives_ids_anew_is_refused(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "schemas"
    world.since[1] = 0.0, ONE
    lookup = world.lookup(folder)
    lookup(1)
    world.since[1] = 0.0, TWO
    with pytest.raises(RegistryUnavailableError, match="id 1 is another") as raised:
        world.lookup(folder).begin(10)
    # As it advises.
    assert str(raised.value).endswith(f"remove {folder}")
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    after = world.lookup(folder)
    after.begin(10)
    assert after(1) == TWO


def test_what_the_registry_has_lost_is_read_by_what_was_kept(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world.since[1] = 0.0, ONE
    world.lookup(tmp_path)(1)
    del world.since[1]
    after = world.lookup(tmp_path)
    after.begin(10)
    assert after(1) == ONE
    assert "no longer at http://registry" in caplog.text


def test_a_damaged_file_costs_a_question(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = KeptSchemas(tmp_path, HERE)
    kept.keep(1, ONE)
    for name, text in (("2", ""), ("3", "[]"), ("4", '{"registry": "http://registry"}')):
        (tmp_path / f"{name}.json").write_text(text)
    (tmp_path / "x.json").write_text((tmp_path / "1.json").read_text())
    assert kept.load() == {1: ONE}
    assert len(caplog.records) == 4
    assert [path.suffix for path in tmp_path.iterdir()] == [".json"] * 5


def test_a_folder_that_cannot_be_written_is_said_and_no_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    with caplog.at_level(logging.WARNING):
        KeptSchemas(tmp_path / "file", HERE).keep(1, ONE)
    assert "schema id 1 is not kept" in caplog.text
    assert KeptSchemas(tmp_path / "nowhere", HERE).load() == {}
