"""What a recovery store's states are of."""

from contextlib import contextmanager

import pytest

from operators.connectors import recovery, recovery_owner
from operators.connectors.topic_identity import TopicChangedError

TOPICS = {"t": "cluster/id"}


@contextmanager
def going_away(folder, monkeypatch):
    """Take the store away just before it is opened."""
    connect = recovery_owner.sqlite3.connect

    def late(*args, **kwargs):
        for file in folder.glob("part-*"):
            file.unlink()
        return connect(*args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(recovery_owner.sqlite3, "connect", late)
        yield


def test_what_states_are_of_is_compared_by_name(tmp_path):
    now = {"a": "1", "b": "2"}
    assert recovery_owner.changed(tmp_path, now) == {}
    recovery.prepare(tmp_path)
    recovery_owner.claim(tmp_path, "f", TOPICS, now)
    assert recovery_owner.changed(tmp_path, now) == {}
    later = {"a": "other", "c": "3"}
    assert recovery_owner.changed(tmp_path, later) == {"a": "1", "b": "2", "c": None}
    recovery_owner.refuse_others(tmp_path, "f", TOPICS)


def test_a_flow_that_grows_reads_other_topics_but_none_that_was_made_anew(tmp_path):
    recovery.prepare(tmp_path)
    recovery_owner.claim(tmp_path, "f", TOPICS)
    more = TOPICS | {"u": "cluster/other"}
    with pytest.raises(TopicChangedError):
        recovery_owner.refuse_others(tmp_path, "f", more)
    recovery_owner.refuse_others(tmp_path, "f", more, grows=True)
    recovery_owner.claim(tmp_path, "f", more)
    recovery_owner.refuse_others(tmp_path, "f", {"u": "cluster/other"}, grows=True)
    with pytest.raises(TopicChangedError, match="made anew"):
        recovery_owner.refuse_others(tmp_path, "f", {"t": "cluster/anew"}, grows=True)


def test_a_store_is_of_one_slice(tmp_path):
    recovery.prepare(tmp_path)
    recovery_owner.refuse_others(tmp_path, "f", TOPICS, slice_="1/2")
    recovery_owner.claim(tmp_path, "f", TOPICS, slice_="1/2")
    recovery_owner.refuse_others(tmp_path, "f", TOPICS, slice_="1/2")
    # By a tool that is told of several.
    recovery_owner.refuse_others(tmp_path, "f", TOPICS)
    with pytest.raises(recovery_owner.OtherOwnerError, match=r"of slice 1/2 .*, not of 0/1"):
        recovery_owner.refuse_others(tmp_path, "f", TOPICS, slice_="0/1")


def test_a_store_of_before_slices_is_of_the_whole_flow(tmp_path):
    recovery.prepare(tmp_path)
    recovery_owner.claim(tmp_path, "f", TOPICS)
    for file in tmp_path.glob("part-*.sqlite3"):
        with recovery_owner.sqlite3.connect(file) as store:
            store.execute("DELETE FROM millstream_owner WHERE name = 'slice'")
    recovery_owner.refuse_others(tmp_path, "f", TOPICS, slice_="0/1")
    with pytest.raises(recovery_owner.OtherOwnerError, match=r"of slice 0/1 .*, not of 0/2"):
        recovery_owner.refuse_others(tmp_path, "f", TOPICS, slice_="0/2")


def test_a_store_of_before_takes_up_what_its_states_are_of(tmp_path):
    recovery.prepare(tmp_path)
    recovery_owner.claim(tmp_path, "f", TOPICS)
    assert recovery_owner.changed(tmp_path, {"a": "1"}) == {}
    recovery_owner.claim(tmp_path, "f", TOPICS, {"a": "1"})
    assert recovery_owner.changed(tmp_path, {"a": "2"}) == {"a": "1"}


def test_a_store_that_is_put_aside_meanwhile_is_not_made_by_looking(tmp_path, monkeypatch):
    recovery.prepare(tmp_path)
    recovery_owner.claim(tmp_path, "f", TOPICS, {"a": "1"})
    with going_away(tmp_path, monkeypatch):
        assert recovery_owner.changed(tmp_path, {"a": "2"}) == {}
    assert not list(tmp_path.glob("part-*"))


def test_whose_a_store_is_is_told_where_there_is_one(tmp_path, monkeypatch):
    assert recovery_owner.owner(tmp_path) is None
    recovery.prepare(tmp_path)
    assert recovery_owner.owner(tmp_path) is None
    recovery_owner.claim(tmp_path, "f", TOPICS)
    assert recovery_owner.owner(tmp_path) == "f"
    with going_away(tmp_path, monkeypatch):
        assert recovery_owner.owner(tmp_path) is None
    assert not list(tmp_path.glob("part-*"))
    (tmp_path / "part-0.sqlite3").write_text("this is a text, and no store")
    with pytest.raises(recovery_owner.OtherOwnerError, match="is no recovery store"):
        recovery_owner.owner(tmp_path)
