"""Schemas of topics that are enforced: checked, locked and published as packaged ones are."""

import json
from pathlib import Path

import pytest

from tests.flows.enforced import ORDER, READING, declare
from tests.operators.connectors.registry_server import serving
from tests.ops.schemas.test_folder import run


@pytest.fixture
def topics(tmp_path: Path) -> Path:
    """A folder of three topics, locked."""
    return declare(tmp_path / "topics", "shop")


def test_versions_are_checked_locked_and_may_not_change(capsys, topics, monkeypatch):
    status, lines = run(capsys, "check", "--enforced", topics)
    new = "millstream schemas lock --enforced"
    assert (status, len(lines)) == (1, 5)
    assert f"{topics}/orders/2.json:1: is not locked yet: run `{new} {topics}`" in lines[2]
    monkeypatch.setenv("MILLSTREAM_ENFORCE_FOLDER", str(topics))
    assert run(capsys, "lock", "--enforced") == (
        0, ["locked heartbeats/1, orders/1, orders/2, readings/1"]
    )  # fmt: skip
    assert run(capsys, "check", "--enforced") == (0, ["3 records, 4 versions, 0 problems"])

    fee = {"name": "fee", "type": "long"}
    more = READING | {"fields": [*READING["fields"], fee]}
    (topics / "readings" / "2.avsc").write_text(json.dumps(more, indent=2))
    (topics / "orders" / "1.json").write_text(json.dumps(ORDER | {"title": "other"}))
    (topics / "heartbeats" / "1.avsc").rename(topics / "heartbeats" / "2.avsc")
    status, lines = run(capsys, "check", "--enforced")
    said = "\n".join(lines)
    assert status == 1
    why = "version 2 can't read all of version 1: field fee: not written, and has no default"
    assert why in said
    assert "orders/1.json:1: is not as it was published" in said
    assert "heartbeats/1.avsc:1: was published and is gone" in said


def test_json_schemas_are_compatible_as_the_contract_says(capsys, topics):
    contract = topics / "orders" / "contract.yaml"
    text = contract.read_text()
    for level, whys in (
        ("none", []),
        ("forward", []),
        (
            "backward",
            ["version 2 can't read all of version 1: currency has to be there (backward)"],
        ),
    ):
        contract.write_text(f"{text}compatibility: {level}\n")
        _, lines = run(capsys, "check", "--enforced", topics)
        assert [line.partition(": ")[2] for line in lines if "can't read" in line] == whys
    contract.write_text(f"{text}compatibility: sideways\n")
    _, lines = run(capsys, "check", "--enforced", topics)
    assert any(f"{contract}:1: compatibility: " in line for line in lines)


def test_those_with_ids_are_published_under_their_topics(capsys, topics, monkeypatch):
    monkeypatch.setenv("MILLSTREAM_ENFORCE_FOLDER", str(topics))
    contract = topics / "orders" / "contract.yaml"
    contract.write_text("topic: shop.orders\nversion: registry\n")
    with serving() as registry:
        monkeypatch.setenv("MILLSTREAM_SCHEMA_REGISTRY", registry.url)
        status, lines = run(capsys, "register", "--enforced", "--json")
        assert status == 0
        ids = json.loads("\n".join(lines))
        assert {name: list(each) for name, each in ids.items()} == {
            "orders": ["1", "2"], "readings": ["1"]
        }  # fmt: skip
        # Again: what is there keeps its id.
        assert json.loads("\n".join(run(capsys, "register", "--enforced", "--json")[1])) == ids
        status, lines = run(capsys, "register", "--enforced", "readings")
        assert lines == [f"readings 1: id {ids['readings']['1']} under shop.readings-value"]
        assert run(capsys, "register", "--enforced", "heartbeats")[0] == 2
    monkeypatch.delenv("MILLSTREAM_SCHEMA_REGISTRY")
    assert run(capsys, "register", "--enforced")[0] == 2
