"""Tables of every kind are switched to rows made anew, and restored, and filled again rightly."""

import json
import random
import threading
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable

from flows import settings as settings_
from flows.streams import CUSTOMERS, ENRICHED, TERMINALS
from flows.streams import writers as declared
from operators.connectors.delta.commits import newest_commits
from ops import cli
from ops.local import Stack
from ops.topics import create_topic
from tests import topics
from tests.compare import Difference
from tests.flows import enforced
from tests.flows.changes import customers, terminal
from tests.flows.test_changes import send
from tests.flows.test_enriched import made as made_for_enriched
from tests.flows.test_enriched import send as send_timed
from tests.running import run

Rows = dict[str, pl.DataFrame]


class Tables:
    """Tables of one flow under a folder, and the same made anew beside them."""

    def __init__(self, flow: str, folder: Path, environ: dict[str, str], *names: str) -> None:
        self.flow, self.folder, self.environ, self.names = flow, folder, environ, names
        self.root, self.anew = str(folder / "tables"), str(folder / "anew")
        self._runs = 0

    def run(self, **settings: str) -> None:
        """Run the flow to the end of its topics, with an empty recovery directory."""
        self._runs += 1
        more = {f"MILLSTREAM_{name}": value for name, value in settings.items()}
        ends = {"MILLSTREAM_STOP_AT_END": "true"}
        run(self.flow, self.environ | ends | more, self.folder / f"run-{self._runs}")

    def rows(self) -> Rows:
        """Return the tables' rows, but for when they were written."""
        return {n: pl.read_delta(f"{self.root}/{n}").drop("written_at") for n in self.names}

    def spoil(self, name: str, column: str) -> None:
        """Have a wrong text in each row."""
        DeltaTable(f"{self.root}/{name}").update({column: "'wrong'"})

    def have(self, before: Rows) -> None:
        """Check that they are what they were."""
        found = Difference.of(before, self.rows())
        assert (found.rows > 0, found.differences) == (True, 0), found.examples


@pytest.fixture
def tables_command(monkeypatch, capsys) -> Callable[..., tuple[int, str]]:
    """Run ``millstream tables``: its status, and what it printed or said."""

    def call(of: Tables, *arguments: str) -> tuple[int, str]:
        for name, value in of.environ.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            cli.main(["tables", *arguments])
        return ended.value.code, "".join(capsys.readouterr())

    return call


def seen_while(uri: str, column: str, do: Callable[[], None]) -> set[frozenset[str]]:
    """Return what a reader sees of a column who reads again and again while something is done."""
    seen: set[frozenset[str]] = set()
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            values = pl.read_delta(uri, columns=[column])[column]
            seen.add(frozenset(values.fill_null("none").unique()))

    reader = threading.Thread(target=look)
    reader.start()
    try:
        do()
    finally:
        done.set()
        reader.join()
    look_last = pl.read_delta(uri, columns=[column])[column]
    return seen | {frozenset(look_last.fill_null("none").unique())}


def prove(of: Tables, name: str, column: str, call: Callable[..., tuple[int, str]]) -> None:
    """Spoil a table, switch and restore it, and check what each leaves and the flow adds."""
    before, uri = of.rows(), f"{of.root}/{name}"
    right = frozenset(before[name][column].fill_null("none").unique())
    of.spoil(name, column)
    status: list[tuple[int, str]] = []
    seen = seen_while(
        uri, column, lambda: status.append(call(of, "switch", name, "--to", of.anew))
    )
    assert status[0][0] == 0, status
    # Those of before or those of after, never some of each or none.
    assert seen <= {frozenset({"wrong"}), right}
    assert right in seen
    of.have(before)
    of.run()
    of.have(before)

    # Back to a version with fewer rows, or other ones: the flow writes again what it has lost.
    ours = [each for each in newest_commits(DeltaTable(uri), 999) if each.rows and each.epoch]
    whole = [each for each in ours if each.fence.keys() >= ours[0].fence.keys()]
    assert len(whole) > 1, ours
    status = [call(of, "restore", name, "--version", str(whole[-1].version), "--json")]
    assert status[0][0] == 0, status
    (told,) = json.loads(status[0][1])
    assert (told["flow"], told["version"]) == (of.flow, whole[-1].version)
    assert not of.rows()[name].sort(pl.all()).equals(before[name].sort(pl.all()))
    of.run()
    of.have(before)


@pytest.mark.parametrize(
    "stream",
    [CUSTOMERS, pytest.param(TERMINALS, marks=pytest.mark.slow)],
    ids=lambda each: each.name,
)
def test_of_changes(stack: Stack, tmp_path: Path, stream, tables_command) -> None:
    environ = topics.settings(stack, tmp_path.name, tmp_path)
    topic = settings_.load(environ).of(stream).topic
    create_topic(stack.bootstrap, topic, 2)
    rng = random.Random(7)
    records = customers(400, rng)
    if stream is TERMINALS:
        records = [
            terminal(n % 30, n, n, status=rng.choice(["OPEN", "PAUSED"])) for n in range(400)
        ]
    of = Tables(stream.name, tmp_path, environ, *(t.name for t in stream.all_tables))
    send(stack, topic, records[:200])
    of.run()
    send(stack, topic, records[200:])
    of.run()
    of.run(BACKFILL_FROM=of.root, DELTA_ROOT=of.anew)
    days = ("--days", "2026-03-01", "2026-03-01")
    status, said = tables_command(of, "switch", stream.merged.name, "--to", of.anew, *days)
    assert (status, "have no time of an event: switch all of it" in said) == (1, True)
    prove(of, stream.merged.name, "country", tables_command)


@pytest.mark.slow
def test_of_a_join(stack: Stack, tmp_path: Path, tables_command) -> None:
    environ = topics.settings(stack, tmp_path.name, tmp_path)
    settings, records = settings_.load(environ), made_for_enriched(random.Random(3))
    of = Tables("enriched", tmp_path, environ, *(t.name for t in ENRICHED.tables))
    topic_of = {each.name: settings.of(each).topic for each in ENRICHED.streams}
    for half in (0, 1):
        for name, topic in topic_of.items():
            middle = len(records[name]) // 2
            if half == 0:
                create_topic(stack.bootstrap, topic, 2)
            send_timed(stack, topic, records[name][half * middle : (half + 1) * middle])
        of.run()
    of.run(DELTA_ROOT=of.anew)
    name = "gold/payments_enriched"
    of.spoil(name, "country")
    days = ("--days", "2026-03-01", "2026-03-01")
    assert tables_command(of, "switch", name, "--to", of.anew, *days)[0] == 0
    assert "wrong" not in of.rows()[name]["country"].to_list()
    prove(of, name, "country", tables_command)
    assert name in declared()


def test_of_an_enforced_topic(stack: Stack, tmp_path: Path, tables_command) -> None:
    environ = enforced.settings(stack, tmp_path)
    every = enforced.records(400)
    of = Tables("enforce", tmp_path, environ, "silver/orders", "quarantine/orders")
    for half in (0, 1):
        for name in every:
            if half == 0:
                create_topic(stack.bootstrap, f"{tmp_path.name}.{name}", enforced.PARTITIONS)
        some = {n: r[half * len(r) // 2 : (half + 1) * len(r) // 2] for n, r in every.items()}
        enforced.send(stack, tmp_path.name, some)
        of.run()
    of.run(DELTA_ROOT=of.anew)
    prove(of, "silver/orders", "order_id", tables_command)
