"""Schema lookups over HTTP, from folders and from the package."""

import json
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

import schemas
from operators.avro.compile import compile_record
from operators.connectors import registry
from operators.connectors.registry import RegistryUnavailableError, open_registry, register
from tests.operators.connectors.registry_server import GUID, Registry

QUICK = {"max.retries": "2", "retries.wait.ms": "1", "retries.max.wait.ms": "2"}


@pytest.fixture
def server() -> Iterator[Registry]:
    server = Registry()
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_registers_every_version_once_and_finds_them(server: Registry) -> None:
    ids = register(server.url, None, "payment", "payments")
    assert ids == {1: 1, 2: 2} == register(server.url, None, "payment", "payments")
    assert list(server.subjects) == ["payments-value"]
    lookup = open_registry(server.url)
    assert lookup(2) == schemas.load("payment", 2)
    assert lookup(GUID) == schemas.load("payment", 1)


def test_unknown_ids_raise_key_error_and_are_not_asked_again(server: Registry) -> None:
    lookup = open_registry(server.url)
    for schema_id in (5, 5, uuid.UUID(int=1), uuid.UUID(int=1)):
        with pytest.raises(KeyError):
            lookup(schema_id)
    assert len(server.asked) == 2


def test_ids_past_31_bits_are_unknown_without_asking(server: Registry) -> None:
    """A registry answers them like a path that it lacks, which would stop the flow."""
    with pytest.raises(KeyError):
        open_registry(server.url)(2**31)
    assert server.asked == []


def test_unknown_ids_are_forgotten_in_time_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_MAX_UNKNOWN", 3)
    known: dict[Any, Any] = {}
    now, asked = [0.0], []

    def find(schema_id: Any) -> Any:
        asked.append(schema_id)
        return known[schema_id]

    lookup = registry.remember_unknown(find, lambda: now[0])
    with pytest.raises(KeyError):
        lookup(1)
    known[1] = {"type": "record"}
    with pytest.raises(KeyError):
        lookup(1)
    now[0] = registry.UNKNOWN_SECONDS
    assert lookup(1) == {"type": "record"}
    for schema_id in (2, 3, 4, 5, 2):
        with pytest.raises(KeyError):
            lookup(schema_id)
    assert asked == [1, 1, 2, 3, 4, 5, 2]


def test_retries_through_a_short_outage(server: Registry) -> None:
    register(server.url, None, "payment", "payments")
    server.failures = 2
    assert open_registry(server.url, QUICK)(1) == schemas.load("payment", 1)


def test_a_long_outage_is_unavailable_not_unknown(server: Registry) -> None:
    server.failures = 100
    with pytest.raises(RegistryUnavailableError, match="Forwarding error"):
        open_registry(server.url, QUICK)(1)


def test_a_registry_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(RegistryUnavailableError):
        open_registry("http://127.0.0.1:1", QUICK)(1)


def test_a_wrong_path_is_unavailable_not_unknown(server: Registry) -> None:
    with pytest.raises(RegistryUnavailableError, match="404"):
        open_registry(f"{server.url}/elsewhere", QUICK)(1)


def test_credentials_are_sent_and_not_shown(server: Registry) -> None:
    server.password = "reader:s3cret"
    config = {"basic.auth.user.info": "reader:s3cret"}
    assert register(server.url, config, "payment", "payments") == {1: 1, 2: 2}
    assert open_registry(server.url, config)(1) == schemas.load("payment", 1)
    wrong = server.url.replace("//", "//reader:wr0ng@")
    with pytest.raises(RegistryUnavailableError, match="Unauthorized") as raised:
        open_registry(wrong, QUICK)(1)
    assert "wr0ng" not in str(raised.value)


def test_an_incompatible_registration_is_an_error(server: Registry) -> None:
    with pytest.raises(RegistryUnavailableError, match="incompatible"):
        register(server.url, None, "payment", "taken")


def test_references_are_put_in_place(server: Registry) -> None:
    def add(subject: str, schema: Any, *references: tuple[str, str]) -> int:
        named = [{"name": n, "subject": s, "version": 1} for n, s in references]
        return server.add(subject, {"schema": json.dumps(schema), "references": named})

    country = {"type": "enum", "name": "Country", "namespace": "geo", "symbols": ["BE"]}
    place = {
        "type": "record",
        "name": "geo.Place",
        "fields": [{"name": "country", "type": "Country"}],
    }
    payment = {
        "type": "record",
        "name": "Payment",
        "namespace": "millstream",
        "fields": [
            {"name": "first", "type": ["null", "geo.Place"]},
            {"name": "all", "type": {"type": "array", "items": "geo.Country"}},
        ],
    }
    add("country", country)
    add("place", place, ("geo.Country", "country"))
    number = add("payment", payment, ("geo.Place", "place"), ("geo.Country", "country"))
    found = open_registry(server.url)(number)
    whole = place | {"fields": [{"name": "country", "type": country}]}
    assert found["fields"][0]["type"] == ["null", whole]
    assert found["fields"][1]["type"]["items"] == "geo.Country"
    compile_record(found)


def test_other_kinds_of_schema_are_no_record(server: Registry) -> None:
    number = server.add("x", {"schema": "{}", "schemaType": "JSON"})
    assert open_registry(server.url)(number) == {"type": "JSON"}


def test_bad_settings_are_refused_at_once() -> None:
    with pytest.raises(ValueError, match="nonsense"):
        open_registry("http://127.0.0.1:1", {"nonsense": "1"})
    with pytest.raises(ValueError, match="many"):
        open_registry("http://127.0.0.1:1", {"max.retries": "many"})
    with pytest.raises(FileNotFoundError):
        open_registry("/no/such/folder")


@pytest.mark.parametrize("form", ["path", "url", "packaged"])
def test_schemas_come_from_a_folder_or_the_package(tmp_path: Path, form: str) -> None:
    folder = tmp_path / "my schemas"
    (folder / "payment").mkdir(parents=True)
    packaged = Path(schemas.__file__).parent / "payment"
    for version in (1, 2):
        shutil.copy(packaged / f"{version}.avsc", folder / "payment")
    url = {"path": str(folder), "url": folder.as_uri(), "packaged": ""}[form]
    lookup = open_registry(url)
    assert lookup(schemas.local_id("payment", 1)) == schemas.load("payment", 1)
    assert lookup(schemas.local_guid("payment", 2)) == schemas.load("payment", 2)
    with pytest.raises(KeyError):
        lookup(1)
    ids = register(url, None, "payment", "payments")
    assert ids == {v: schemas.local_id("payment", v) for v in (1, 2)}


def test_who_needs_no_registry_does_not_load_its_client() -> None:
    code = "import sys, operators.connectors.registry; print('authlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr
