"""Schemas here and in a registry: listed, published, compared."""

import json
from threading import Thread

import pytest

import schemas
from ops import cli
from ops.registry import Registry
from tests.operators.connectors.registry_server import serving


def run(capsys, *arguments):
    """Return the status of `millstream schemas …`, what it prints, and what it complains of."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["schemas", *map(str, arguments)])
    printed = capsys.readouterr()
    return ended.value.code, printed.out.splitlines(), printed.err.splitlines()


@pytest.fixture
def registry(monkeypatch):
    """A registry that has nothing yet."""
    with serving() as server:
        monkeypatch.setenv("MILLSTREAM_SCHEMA_REGISTRY", server.url)
        yield server


def test_without_a_registry_there_are_local_ids(capsys, monkeypatch):
    monkeypatch.delenv("MILLSTREAM_SCHEMA_REGISTRY", raising=False)
    status, lines, _ = run(capsys, "list")
    assert status == 0
    assert "registry" not in lines[0]
    assert lines[1].split() == [
        "payment", "1", str(schemas.local_id("payment", 1)), "payments-value"
    ]  # fmt: skip
    for command in (("register",), ("diff", "payment", "registry")):
        status, _, (said,) = run(capsys, *command)
        assert (status, said.split(":")[1]) == (
            2, " MILLSTREAM_SCHEMA_REGISTRY is no registry's URL"
        )  # fmt: skip


def test_what_is_missing_is_published_and_what_is_there_besides_is_listed(
    capsys, registry, monkeypatch
):
    monkeypatch.setenv("MILLSTREAM_CLICKS_TOPIC", "web.clicks")
    assert {line.split()[-2] for line in run(capsys, "list")[1][1:]} == {"not"}
    status, _, (said,) = run(capsys, "diff", "click")
    assert status == 1
    assert "`millstream schemas register click`" in said
    status, lines, _ = run(capsys, "register", "click")
    assert (status, lines) == (0, ["click 1: id 1 under web.clicks-value"])
    assert run(capsys, "diff", "click")[1][0] == "no field differs"
    status, lines, _ = run(capsys, "register")
    assert status == 0
    assert lines[:2] == [
        "payment 1: id 2 under payments-value",
        "payment 2: id 3 under payments-value",
    ]
    assert run(capsys, "register")[1] == lines
    newer = schemas.latest("payment")
    newer["fields"].append({"name": "fee_minor", "type": "long"})
    registry.add("payments-value", {"schema": json.dumps(newer)})
    status, (text,), _ = (
        run(capsys, "diff", "payment", "2", "registry", "--json")[0:3][0],
        ["\n".join(run(capsys, "diff", "payment", "2", "registry", "--json")[1])],
        None,
    )
    told = json.loads(text)
    assert status == 0
    assert told["changes"] == [{"kind": "added", "field": "fee_minor", "text": "long"}]
    assert told["new_reads_old"] == ["field fee_minor: not written, and has no default"]
    assert told["old_reads_new"] == []
    rows = json.loads("\n".join(run(capsys, "list", "--json")[1]))
    payments = [(each["version"], each["registry_version"], each["registry_id"])
                for each in rows if each["record"] == "payment"]  # fmt: skip
    assert payments == [(1, 1, 2), (2, 2, 3), (None, 3, 7)]


def test_what_is_no_schema_of_ours_is_listed_and_not_compared(capsys, registry):
    other = {"schema": '{"type": "object"}', "schemaType": "JSON"}
    registry.add("clicks-value", other)
    gone = [{"name": "n.Gone", "subject": "gone", "version": 1}]
    text = '{"type": "record", "name": "R", "fields": [{"name": "f", "type": "n.Gone"}]}'
    registry.add("payments-value", {"schema": text, "references": gone})
    status, lines, _ = run(capsys, "list")
    assert status == 0
    assert sum("not here" in line for line in lines) == 2
    for record, subject in (("click", "clicks"), ("payment", "payments")):
        status, _, (said,) = run(capsys, "diff", record, "registry")
        assert status == 1
        assert said.startswith(
            f"millstream: version 1 of {subject}-value in the registry is no schema that a flow "
        )


def test_it_says_what_is_wrong_in_a_line(capsys, registry, monkeypatch):
    assert run(capsys, "diff", "payment", "1", "7")[2] == [
        "millstream: payment has no version 7: there are 1, 2, and registry"
    ]
    assert run(capsys, "register", "customer")[2] == [
        "millstream: customer: their topics have them in Debezium's envelope, which its connector "
        "publishes"
    ]
    assert run(capsys, "register", "paiment")[2] == [
        "millstream: no record paiment: there are chargeback, click, customer, label, payment, "
        "terminal"
    ]
    registry.authorization = "Bearer token"
    status, _, (said,) = run(capsys, "list")
    assert status == 1
    assert "HTTP 401" in said
    monkeypatch.setenv("MILLSTREAM_SCHEMA_REGISTRY_TOKEN", "token")
    assert run(capsys, "list")[0] == 0
    monkeypatch.setenv("MILLSTREAM_SCHEMA_REGISTRY_USER", "nobody")
    assert run(capsys, "list")[0] == 2


def test_the_local_stack_has_them_all(capsys, monkeypatch):
    server = Registry(0)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("MILLSTREAM_SCHEMA_REGISTRY", f"http://127.0.0.1:{server.server_port}")
    try:
        lines = run(capsys, "register")[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    number = schemas.local_id("payment", 2)
    assert lines[1] == f"payment 2: id {number} under payments-value"
