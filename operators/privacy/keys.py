"""Keys: a ring of secrets by their ids, and what is made with them.

The first one of a ring encrypts, whatever the others have encrypted is read with them, and the
last makes tokens: a new key goes in front, and no token changes.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from functools import cached_property
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from operators.errors import KnownError

_ID: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_LEAST: Final = 32
_NONCE: Final = 12
_TOKEN: Final = 16


class KeyRingError(ValueError):
    """A ring of keys cannot be used; the message names every problem, and no part of a key."""


class NoKeyError(KnownError):
    """What is encrypted cannot be read: its key is not in the ring, or it is not as written."""


class Mac:
    """HMAC-SHA-256 of a key of 32 bytes.

    As `hmac.digest` of it, in a third of the time: what the key makes is hashed once.
    """

    def __init__(self, key: bytes) -> None:
        block = key.ljust(64, b"\0")
        self._inner, self._outer = (
            hashlib.sha256(bytes(each ^ pad for each in block)) for pad in (0x36, 0x5C)
        )

    def __call__(self, text: bytes) -> bytes:
        """Return the 32 bytes of a text."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(text)
        outer.update(inner.digest())
        return outer.digest()


class Key:
    """A secret under its id: makes tokens, encrypts and decrypts.

    An encryption is a function of the secret, of what it is `about`, and of the bytes: the same
    record gives the same rows again. Its nonce is made of all three, so two that have the same
    nonce are the same.
    """

    def __init__(self, id_: str, secret: bytes) -> None:
        """`secret` has 32 bytes or more; each use has a key of its own made of it."""
        self.id = id_
        own = Mac(hashlib.sha256(secret).digest())
        token, nonce, seal = (own(f"{use} 1".encode()) for use in ("token", "nonce", "seal"))
        self._token, self._nonce = Mac(token), Mac(nonce)
        self._cipher = AESGCM(seal)

    def __repr__(self) -> str:
        return f"Key({self.id!r})"

    def token(self, about: str, value: str) -> str:
        """Return what stands for a value of a field: ``<key id>:`` and 22 letters."""
        made = self._token(_joined(about.encode(), value.encode()))
        return f"{self.id}:{_text(made[:_TOKEN])}"

    def encrypt(self, about: bytes, value: bytes) -> bytes:
        """Return nonce (12 bytes), ciphertext and tag (16 bytes)."""
        nonce = self._nonce(_joined(about, value))[:_NONCE]
        return nonce + self._cipher.encrypt(nonce, value, about)

    def decrypt(self, about: bytes, sealed: bytes) -> bytes:
        """Return what was encrypted; raises NoKeyError if it is not as this key left it."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], about)
        except (InvalidTag, ValueError):
            raise NoKeyError(
                f"what key {self.id} has encrypted cannot be decrypted: it was changed, or the "
                "key of that id was another"
            ) from None


def _joined(about: bytes, value: bytes) -> bytes:
    return len(about).to_bytes(4, "big") + about + value


def _text(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


class KeyRing:
    """Keys by their ids, the newest first."""

    def __init__(self, keys: Mapping[str, Key]) -> None:
        self._keys = dict(keys)

    @classmethod
    def parse(cls, text: str) -> "KeyRing":
        """Return the ring of a text ``id:secret``, with commas or line feeds between.

        A secret is base64. Raises KeyRingError.
        """
        keys: dict[str, Key] = {}
        problems = []
        for entry in filter(None, (each.strip() for each in re.split(r"[,\n]", text))):
            id_, colon, secret = entry.partition(":")
            if not (colon and _ID.fullmatch(id_)):
                # Not told, as it may be the secret.
                problems.append("an entry is not id:secret (an id has a-z, 0-9, _ and -)")
            elif id_ in keys:
                problems.append(f"key {id_} is there twice")
            elif (known := _secret(secret)) is None:
                problems.append(f"key {id_} is no base64 of {_LEAST} bytes or more")
            else:
                keys[id_] = Key(id_, known)
        if problems:
            raise KeyRingError("; ".join(problems))
        return cls(keys)

    def __bool__(self) -> bool:
        return bool(self._keys)

    @cached_property
    def newest(self) -> Key:
        """The key that encrypts records; raises NoKeyError for an empty ring."""
        return self._some()[0]

    @cached_property
    def oldest(self) -> Key:
        """The key that makes what must never change; raises NoKeyError for an empty ring."""
        return self._some()[-1]

    def _some(self) -> list[Key]:
        if not self._keys:
            raise NoKeyError("there is no key: set MILLSTREAM_PRIVACY_KEYS, or its file")
        return list(self._keys.values())

    def of(self, id_: str) -> Key:
        """Return the key of an id; raises NoKeyError."""
        if id_ not in self._keys:
            raise NoKeyError(
                f"this was encrypted with key {id_}, which is not at hand: set "
                "MILLSTREAM_PRIVACY_KEYS or MILLSTREAM_PRIVACY_KEYS_FILE to keys with that one"
            )
        return self._keys[id_]

    def shown(self, about: str, text: str) -> str:
        """Return the value of a field that `hidden` has made a text of; raises NoKeyError."""
        _, id_, sealed = text.split(":", 2)
        raw = base64.urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4))
        return self.of(id_).decrypt(about.encode(), raw).decode()

    def hidden(self, about: str, value: str) -> str:
        """Return a field's value encrypted, as a text: ``enc:<key id>:`` and letters."""
        key = self.oldest
        return f"enc:{key.id}:{_text(key.encrypt(about.encode(), value.encode()))}"


def _secret(text: str) -> bytes | None:
    try:
        found = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return found if len(found) >= _LEAST else None
