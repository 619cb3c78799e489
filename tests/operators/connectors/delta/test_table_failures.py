"""Commits of the Delta sink that fail, that landed all the same, or that met another's."""

import pytest
from deltalake import DeltaTable

from operators.connectors.delta import writer as delta_writer
from operators.connectors.delta import writing as delta_writing
from operators.connectors.delta.table import (
    Fence,
    FencedError,
    StorageUnavailableError,
    table_uri,
)
from tests.operators.connectors.delta_flow import ROWS, Flow, held, versions


@pytest.fixture
def failing(monkeypatch):
    """Make the next commits fail, "before" or "after" they land."""
    plan: list[str] = []
    original = delta_writing._add

    def write(*args, **kwargs):
        how = plan.pop(0) if plan else "never"
        if how == "before":
            raise OSError("disk on fire")
        original(*args, **kwargs)
        if how == "after":
            raise Exception("post-commit hook failed")  # as deltalake does

    monkeypatch.setattr(delta_writing, "_add", write)
    monkeypatch.setattr(delta_writer.time, "sleep", lambda _: None)
    return plan


@pytest.mark.parametrize(
    "plan", [["before"], ["after"], ["before"] * 5, ["before", "before", "after"]], ids=str
)
def test_a_commit_that_fails_is_retried_or_known_to_have_landed(tmp_path, failing, plan):
    flow = Flow(tmp_path)
    flow.rows(0, 0, 1)
    flow.progress(0, 1)
    failing += plan
    flow.snapshot()
    assert failing == []
    flow.rows(0, 2)
    flow.progress(0, 2)
    flow.snapshot()
    assert held(tmp_path) == [(0, 0), (0, 1), (0, 2)]
    assert versions(tmp_path) == 2


def test_storage_that_stays_away_is_a_clear_error_and_the_replay_loses_nothing(
    tmp_path, failing
):
    flow = Flow(tmp_path)
    flow.rows(0, 0, 1)
    flow.progress(0, 1)
    failing += ["before"] * 6
    with pytest.raises(StorageUnavailableError, match="silver/rows: disk on fire"):
        flow.snapshot()
    again = Flow(tmp_path)
    again.rows(0, 0, 1)
    again.progress(0, 1)
    again.snapshot()
    assert held(tmp_path) == [(0, 0), (0, 1)]


def test_a_commit_that_landed_before_the_process_died_is_not_made_again(
    tmp_path, failing, monkeypatch
):
    flow = Flow(tmp_path)
    flow.rows(0, 0, 1)
    flow.progress(0, 1)
    failing.append("after")
    # It dies before it can look.
    monkeypatch.setattr(Fence, "read", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        flow.snapshot()
    monkeypatch.undo()
    again = Flow(tmp_path)
    again.rows(0, 0, 1, 2)
    again.progress(0, 2)
    again.snapshot()
    assert held(tmp_path) == [(0, 0), (0, 1), (0, 2)]


def test_of_two_flows_on_one_table_the_second_stops(tmp_path):
    one, other = Flow(tmp_path), Flow(tmp_path)
    one.rows(0, 0, 1)
    one.progress(0, 1)
    other.rows(0, 0)
    other.progress(0, 0)
    one.snapshot()
    with pytest.raises(FencedError, match=r"silver/rows moved from .* another copy"):
        other.snapshot()
    assert held(tmp_path) == [(0, 0), (0, 1)]


def test_a_commit_of_someone_who_is_no_flow_is_none_of_our_business(tmp_path):
    flow = Flow(tmp_path)
    flow.rows(0, 0)
    flow.progress(0, 0)
    flow.snapshot()
    DeltaTable(table_uri(str(tmp_path), ROWS.name)).alter.set_table_properties(
        {"delta.appendOnly": "true"}
    )
    flow.rows(0, 1)
    flow.progress(0, 1)
    flow.snapshot()
    assert held(tmp_path) == [(0, 0), (0, 1)]
