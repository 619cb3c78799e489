"""Schemas over HTTP, from folders and from the package."""

import base64
import json
import shutil
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest

import schemas
from operators.connectors.registry import schema_source as registry
from operators.connectors.registry.client import RegistryClient
from operators.connectors.registry.errors import RegistryAwayError, RegistryDeniedError
from operators.connectors.registry.schema_source import (
    RegistryUnavailableError,
    open_registry,
    register,
)
from tests.operators.connectors.registry_server import Registry

NOWHERE = "http://127.0.0.1:1"
HTML = b"<html>Please log in</html>"


def basic(user: str) -> str:
    return "Basic " + base64.b64encode(user.encode()).decode()


def test_registers_every_version_once_and_finds_them(server: Registry) -> None:
    ids = register(server.url, None, "payment", "payments")
    assert ids == {1: 1, 2: 2} == register(server.url, None, "payment", "payments")
    assert list(server.store.subjects) == ["payments-value"]
    lookup = open_registry(server.url)
    assert lookup(2) == schemas.load("payment", 2)
    guid = uuid.UUID(server.store.schemas[1]["guid"])
    assert lookup(guid) == schemas.load("payment", 1)


@pytest.mark.parametrize("schema_id", [5, 2**31, 2**32 - 1, uuid.UUID(int=1)])
@pytest.mark.parametrize("knows_guids", [True, False])
def test_what_the_registry_has_not_is_unknown(
    server: Registry, client: RegistryClient, schema_id: Any, knows_guids: bool
) -> None:
    """Ids are Java ints: it answers larger ones, and GUIDs it may never have heard of, like a
    page that it lacks."""
    server.knows_guids = knows_guids
    with pytest.raises(KeyError):
        client.fetch(schema_id)


@pytest.mark.parametrize("schema_id", [5, 2**31, uuid.UUID(int=1)])
@pytest.mark.parametrize(
    ("page", "says"),
    [
        ((404, HTML, "text/html"), "HTTP 404, which is no registry's answer"),
        ((404, b'{"message": "no Route matched"}', "application/json"), "HTTP 404"),
        ((200, HTML, "text/html"), "not a registry's"),
        ((200, b"", "text/plain"), "not a registry's"),
        ((200, b'{"status": "UP"}', "application/json"), "not a registry's"),
        ((200, b"[]", "application/json"), "not a registry's"),
        ((204, b"", "text/plain"), "not a registry's"),
        ((302, b"", "text/html"), "HTTP 302, a redirect"),
        ((429, b'{"error_code": 429, "message": "slow"}', "application/json"), "429: slow"),
        ((502, HTML, "text/html"), "HTTP 502"),
    ],
)
def test_what_is_no_registrys_answer_is_an_outage(
    server: Registry, client: RegistryClient, schema_id: Any, page: Any, says: str
) -> None:
    server.page = page
    with pytest.raises(RegistryAwayError, match=says):
        client.fetch(schema_id)
    # An empty list is a registry's, that knows no kind of schema.
    if page[1] != b"[]":
        with pytest.raises(RegistryAwayError, match=says):
            client.check()
    server.page = None
    server.add("payments-value", {"schema": json.dumps(schemas.load("payment", 1))})
    client.check()
    assert client.fetch(1) == schemas.load("payment", 1)


def test_a_gateway_that_lets_nothing_through_but_ids_is_no_outage(
    server: Registry, client: RegistryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = type(server.store).get
    monkeypatch.setattr(
        type(server.store),
        "get",
        lambda self, path: (404, {}) if path == ["schemas", "types"] else plain(self, path),
    )
    client.check()
    server.add("payments-value", {"schema": json.dumps(schemas.load("payment", 1))})
    client.check()
    with pytest.raises(KeyError):
        client.fetch(uuid.UUID(int=1))


def test_what_is_not_there_is_away(client: RegistryClient) -> None:
    away = RegistryClient(NOWHERE, {})
    for call in (away.check, lambda: away.fetch(1)):
        with pytest.raises(RegistryAwayError, match="refused"):
            call()


def test_the_second_of_two_urls_answers_for_the_first(server: Registry) -> None:
    register(server.url, None, "payment", "payments")
    both = open_registry(f"{NOWHERE}, {server.url}/")
    assert both(1) == schemas.load("payment", 1)


def test_a_path_in_the_url_is_kept_as_contexts_and_apicurio_need_it(server: Registry) -> None:
    with pytest.raises(RegistryUnavailableError, match="404"):
        open_registry(f"{server.url}/contexts/.other", timeout=0)
    assert server.asked[0] == "/contexts/.other/schemas/types"


@pytest.mark.parametrize("password", ["s3cret", "a/b@c:d", "a%b#c?d,e ü"])
def test_credentials_are_sent_and_not_shown(server: Registry, password: str) -> None:
    server.authorization = basic(f"reader:{password}")
    for url, config in (
        (server.url, {"basic.auth.user.info": f"reader:{password}"}),
        (server.url.replace("//", f"//reader:{password.replace('%', '%25')}@"), {}),
    ):
        registry.check_url(url)
        assert register(url, config, "payment", "payments") == {1: 1, 2: 2}
        assert open_registry(url, config)(1) == schemas.load("payment", 1)
    server.authorization = basic("another:one")
    wrong = server.url.replace("//", f"//reader:{password}@")
    with pytest.raises(RegistryUnavailableError) as raised:
        open_registry(wrong, timeout=0)
    said = str(raised.value)
    assert "401: Unauthorized; check MILLSTREAM_SCHEMA_REGISTRY_USER" in said
    assert f"schema registry {server.url}: " in said
    assert "reader" not in said


def test_a_token_from_a_file_may_be_renewed(server: Registry, tmp_path: Path) -> None:
    register(server.url, None, "payment", "payments")
    token = tmp_path / "token"
    token.write_text("first\n")
    server.authorization = "Bearer first"
    lookup = open_registry(server.url, {"bearer.auth.token.file": str(token)})
    assert lookup(1)
    server.authorization = "Bearer second"
    token.write_text("second\n")
    assert lookup(2)
    assert open_registry(server.url, {"bearer.auth.token": "second"})(1)
    token.unlink()
    client = RegistryClient(server.url, {"bearer.auth.token.file": str(token)})
    with pytest.raises(RegistryAwayError, match="No such file"):
        client.fetch(1)
    token.write_text("s€cret")
    with pytest.raises(RegistryDeniedError, match=r"^the bearer token is not ASCII$"):
        client.fetch(1)


def test_an_incompatible_registration_is_an_error(server: Registry) -> None:
    with pytest.raises(RegistryUnavailableError, match="incompatible"):
        register(server.url, None, "payment", "taken")


def test_bad_settings_are_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nonsense"):
        open_registry(NOWHERE, {"nonsense": "1"})
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(ValueError, match="certificates"):
        open_registry(NOWHERE, {"ssl.ca.location": str(tmp_path / "ca.pem")})
    with pytest.raises(ValueError, match="certificates"):
        open_registry(NOWHERE, {"ssl.certificate.location": str(tmp_path / "ca.pem")})
    with pytest.raises(ValueError, match="a setting of its own"):
        open_registry("http://a:b@127.0.0.1:1", {"bearer.auth.token": "t"})


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "http://host:80x",
        "http://u:s3cret@host:s3cret",
        "http://u:s3cret@",
        "http://host/?q=s3cret",
        "http://a:s3cret@one,http://b:s3cret@two",
        "http://s3cret@host",
        "ftp://u:s3cret@host",
        "u:s3cret@host:8081",
        "http://host:8081/a b",
    ],
)
def test_a_url_that_is_none_is_refused_without_a_word_of_it(url: str) -> None:
    with pytest.raises(ValueError, match=r"^(is|has) ") as raised:
        registry.check_url(url)
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize("form", ["path", "url", "packaged"])
def test_schemas_come_from_a_folder_or_the_package(tmp_path: Path, form: str) -> None:
    folder = tmp_path / "my schemas"
    (folder / "payment").mkdir(parents=True)
    packaged = Path(schemas.__file__).parent / "payment"
    for version in (1, 2):
        shutil.copy(packaged / f"{version}.avsc", folder / "payment")
    (folder / "payment" / "._1.avsc").write_bytes(b"\0")
    url = {"path": str(folder), "url": folder.as_uri(), "packaged": ""}[form]
    registry.check_url(url)
    lookup = open_registry(url)
    assert lookup(schemas.local_id("payment", 1)) == schemas.load("payment", 1)
    assert lookup(schemas.local_guid("payment", 2)) == schemas.load("payment", 2)
    # Records of the releases before have it, a number that Java's clients cannot read.
    assert schemas.former_id("payment", 2) >= 2**31
    assert lookup(schemas.former_id("payment", 2)) == schemas.load("payment", 2)
    with pytest.raises(KeyError):
        lookup(1)
    ids = register(url, None, "payment", "payments")
    assert ids == {v: schemas.local_id("payment", v) for v in (1, 2)}


def test_all_that_is_wrong_with_a_folder_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"neither an http.* nor a folder that is there"):
        registry.check_url(str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match=r"no file <record>/<version>\.avsc"):
        registry.check_url(str(tmp_path))
    folder = tmp_path / "payment"
    folder.mkdir()
    for name, text in (("1", "{"), ("2", "[]"), ("draft", "{}"), ("3", '{"type": "record"}')):
        (folder / f"{name}.avsc").write_text(text)
    with pytest.raises(ValueError, match=r"1\.avsc: .*2\.avsc: .*draft\.avsc: ") as raised:
        registry.check_url(str(tmp_path))
    assert "3.avsc" not in str(raised.value)


def test_who_needs_no_registry_does_not_load_its_client() -> None:
    module = "operators.connectors.registry.schema_source"
    code = f"import sys, {module}; print('authlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr
