"""The URL of a Redis server: whether it can be used, said without showing any of it."""

import re
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

_SCHEMES: Final = ("redis://", "rediss://", "unix://")
_OPTIONS: Final = ("db", "username", "password", "client_name")
_TLS_FILES: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_TLS_OPTIONS: Final = (*_TLS_FILES, "ssl_ca_path", "ssl_cert_reqs", "ssl_password")
_ENCODE: Final = (
    "in the user's name and the password / is written %2F, # %23, ? %3F, @ %40, : %3A and % %25 "
    "(Python's urllib.parse.quote(password, safe='') does it)"
)


def check_redis_url(url: str) -> None:
    """Raise ValueError, naming no part of it, for a URL that cannot be used."""
    if not url.startswith(_SCHEMES):
        raise ValueError("must start with redis://, rediss:// or unix://")
    if re.search(r"%(?![0-9A-Fa-f]{2})", url):
        raise ValueError(f"has a % that begins no code such as %2F: {_ENCODE}")
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        raise ValueError(f"has a host that cannot be read: {_ENCODE}") from None
    # A password's / or # or ? ends the host, and what is behind it has the @.
    path = parts.path if parts.scheme != "unix" or parts.netloc else ""
    if any("@" in part for part in (path, parts.query, parts.fragment)) and (
        parts.scheme != "unix" or "@" not in parts.netloc
    ):
        raise ValueError(f"has an @ behind the host: {_ENCODE}")
    if parts.fragment:
        raise ValueError(f"has a #: {_ENCODE}")
    if parts.scheme == "unix":
        _check_socket(parts.path, parts.netloc)
    else:
        _check_place(parts.netloc, host, parts.path)
    _check_options(parts.query, tls=parts.scheme == "rediss")


def _check_socket(path: str, netloc: str) -> None:
    if not path.strip("/") or (netloc and not netloc.endswith("@")):
        raise ValueError("names no socket: unix:///path/to/socket")


def _check_place(netloc: str, host: str, path: str) -> None:
    where = netloc.rpartition("@")[2]
    port = re.fullmatch(r"(?:\[[^]]*\]|[^:]*)(?::(.*))?", where)
    if not host:
        raise ValueError("names no host: redis://host:6379/0")
    if port is None or (port[1] is not None and not _is_number(port[1], 1, 65_535)):
        raise ValueError(f"has a port that is no number from 1 to 65535; {_ENCODE}")
    try:
        unquote(host).encode("idna")
    except UnicodeError:
        raise ValueError("has a host that is no name of one") from None
    if re.search(r"[\s\x00-\x1f]", host):
        raise ValueError("has a host that is no name of one")
    if path not in ("", "/") and not _is_number(path[1:], 0, 2**31 - 1):
        raise ValueError("must end with the number of a database, as in redis://host:6379/0")


def _check_options(query: str, *, tls: bool) -> None:
    known = (*_OPTIONS, *(_TLS_OPTIONS if tls else ()))
    given = parse_qsl(query, keep_blank_values=True)
    if any(name not in known for name, _ in given):
        raise ValueError(
            f"has an option behind the ? other than {', '.join(known)}: the flow sets the others "
            f"itself, and ssl_ ones go with rediss://; {_ENCODE}"
        )
    for name, value in given:
        if name == "db" and not _is_number(value, 0, 2**31 - 1):
            raise ValueError("has a db that is no number of a database")
        if name == "ssl_cert_reqs" and value not in ("none", "optional", "required"):
            raise ValueError("has an ssl_cert_reqs other than none, optional or required")
        if name in _TLS_FILES and not Path(value).is_file():
            raise ValueError(f"names a file as {name} that is not there")


def _is_number(text: str, least: int, most: int) -> bool:
    return bool(re.fullmatch(r"[0-9]{1,10}", text)) and least <= int(text) <= most
