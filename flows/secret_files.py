"""Secrets in files: a setting that is one may be read from the file that NAME_FILE names.

As Kubernetes and others mount them, so that none is in a process's environment, which its children
have, and who may look at the process reads.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from flows.environment import PREFIX

SUFFIX: Final = "_FILE"

SECRETS: Final = tuple(
    PREFIX + name
    for name in (
        "REDIS_URL",
        "SCHEMA_REGISTRY",
        "SCHEMA_REGISTRY_USER",
        "SCHEMA_REGISTRY_KEY_PASSWORD",
        "KAFKA_SASL_PASSWORD",
        "KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET",
        "KAFKA_SSL_KEY_PASSWORD",
        "KAFKA_SSL_KEYSTORE_PASSWORD",
    )
)
"""The settings that a file may have; a registry's token and the keys of privacy have such ones
of their own, which are read again or have several lines."""


def read_secrets(environ: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return the environment with the secrets of files in it, and a line for each that cannot be.

    What is returned has no NAME_FILE of a secret any more. A file has the secret alone; a line feed
    behind it is none of it. An empty NAME_FILE is none. No line has anything of a file in it.
    """
    found, problems = dict(environ), list[str]()
    for name in SECRETS:
        path = found.pop(name + SUFFIX, "")
        if not path:
            continue
        if name in found:
            problems.append(f"{name}{SUFFIX}: there is a {name} too")
            continue
        try:
            found[name] = _read(Path(path))
        except ValueError as error:
            problems.append(f"{name}{SUFFIX}: {path} {error}")
    return found, problems


def is_set(environ: Mapping[str, str], name: str) -> bool:
    """Tell whether a secret is set, by its value or by its file."""
    return name in environ or bool(environ.get(name + SUFFIX))


def with_settings(environ: Mapping[str, str], settings: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which these settings take the place of what is set of them."""
    files = {name + SUFFIX for name in settings}
    return {n: value for n, value in environ.items() if n not in files} | dict(settings)


def _read(path: Path) -> str:
    try:
        text = path.read_text("utf-8").strip("\r\n")
    except UnicodeDecodeError:
        raise ValueError("is no text") from None
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    if not text:
        raise ValueError("is empty")
    return text
