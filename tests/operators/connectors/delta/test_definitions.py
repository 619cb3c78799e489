"""What tables tell of what their rows are made by."""

from dataclasses import replace

import pytest
from deltalake import DeltaTable, Field

from operators.connectors.delta.defining import (
    RedefinedError,
    define,
    refuse_redefined,
    wait_for,
)
from operators.connectors.delta.definitions import Told, begun, gone_on, history, text_of
from operators.connectors.delta.errors import StorageUnavailableError
from operators.connectors.delta.table import Fence, open_table, table_uri
from operators.event_time.frontier import Frontier
from tests.operators.connectors.delta_flow import ROWS, Flow

NOW = {"rule a": "1", "rule b": "1"}
AT = {("t", 0): 5}
FENCE = Fence("f", [("t", 0)])


def never() -> Frontier:
    raise AssertionError("asked")


def reached() -> Frontier:
    return Frontier(dict(AT), 70)


def test_what_is_the_same_is_told_once():
    assert gone_on(begun(NOW), NOW, never) is None
    assert gone_on(None, NOW, never) == begun(NOW)


def test_what_is_new_changed_or_gone_counts_from_where_the_tables_are():
    there = begun({"rule a": "1", "rule c": "1"})
    later = gone_on(there, {"rule a": "2", "rule b": "1"}, reached)
    assert later == {
        "rule a": [Told("1"), Told("2", AT, 70)],
        "rule b": [Told("1", AT, 70)],
        "rule c": [Told("1"), Told(None, AT, 70)],
    }
    back = gone_on(later, {"rule a": "2", "rule b": "1", "rule c": "1"}, reached)
    assert back is not None
    assert [each.text for each in back["rule c"]] == ["1", None, "1"]
    # A table that has told nothing is of today's, but for its new columns.
    assert gone_on(None, NOW, reached, ["rule b"]) == {
        "rule a": [Told("1")],
        "rule b": [Told("1", AT, 70)],
    }


def test_a_table_tells_it_whatever_is_written_and_who_compacts_it(tmp_path):
    flow = Flow(tmp_path)
    flow.rows(0, 0, 1)
    flow.progress(0, 1)
    flow.snapshot()
    root = str(tmp_path)
    rows = replaced(definitions={"rule a": "1"}, fixed={"lateness": "0"})
    define(root, [rows, ROWS], FENCE, never, goes_on=lambda: True)
    table = DeltaTable(table_uri(root, ROWS.name))
    assert history(table) == begun({"rule a": "1", "lateness": "0"})
    version = table.version()
    define(root, [rows], FENCE, never, goes_on=lambda: True)
    assert DeltaTable(table.table_uri).version() == version
    table.alter.add_columns([Field("other", "string")])
    table.optimize.compact()
    changed = replaced(definitions={"rule a": "2"}, fixed={"lateness": "0"})
    with pytest.raises(StorageUnavailableError, match="not brought to today's definitions"):
        wait_for(root, changed, 0.3)
    define(root, [changed], FENCE, reached, goes_on=lambda: True)
    # What it has itself is told too.
    newest = Told("2", AT, 70, {("t", 0): 1})
    assert wait_for(root, changed, 1)["rule a"] == [Told("1"), newest]
    # Nor does it go on with what is defined no more.
    fewer = replaced(definitions={}, fixed={"lateness": "0"})
    with pytest.raises(StorageUnavailableError, match="not brought to today's definitions"):
        wait_for(root, fewer, 0.3)
    define(root, [fewer], FENCE, reached, goes_on=lambda: True)
    assert wait_for(root, fewer, 1)["rule a"][-1].text is None
    define(root, [changed], FENCE, reached, goes_on=lambda: True)
    # What all of its rows must be of, also if it was taken away in between.
    other = replaced(fixed={"lateness": "9"})
    define(root, [replaced(fixed={"rule x": "1"})], FENCE, reached, goes_on=lambda: True)
    with pytest.raises(RedefinedError) as refused:
        refuse_redefined(root, [other])
    assert refused.value.changed == {ROWS.name: ("lateness",)}
    refuse_redefined(root, [changed])


def test_a_table_that_is_new_begins_where_its_flow_goes_on(tmp_path):
    root = str(tmp_path)
    rows = replaced(definitions={"rule a": "1"})
    define(root, [rows], FENCE, never, goes_on=lambda: False)
    assert not DeltaTable.is_deltatable(table_uri(root, rows.name))
    assert history(open_table(root, rows)) == begun({"rule a": "1"})
    other = replaced(name="other", definitions={"rule a": "1"})
    define(root, [other], FENCE, reached, goes_on=lambda: True)
    made = DeltaTable(table_uri(root, "other"))
    assert history(made) == {"rule a": [Told("1", AT, 70)]}
    # In one commit: behind a crash between two it would tell that its rows are all of today's.
    assert made.version() == 0


def test_it_is_written_as_json_that_people_can_read():
    assert text_of({"rule a": [Told("1"), Told("2", AT, 70)]}) == (
        '{"rule a": [{"is": "1"}, {"is": "2", "offsets": {"t/0": 5}, "watermark": 70}]}'
    )


def replaced(**changes):
    return replace(ROWS, **changes)
