"""Settings of privacy: the keys, from the environment or a file."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, field_validator

from operators.privacy import KeyRing


class PrivacySettings(BaseModel):
    """The keys that personal data is hidden with; each is MILLSTREAM_ and its name."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    privacy_keys: SecretStr = Field(
        SecretStr(""),
        description="`id:secret` with commas between, a secret being base64 of 32 bytes or more: "
        "the first one encrypts, the last makes tokens ([Privacy](privacy.md))",
    )
    privacy_keys_file: Path | None = Field(
        None, description="a file of these, one a line, in their place"
    )

    @property
    def key_ring(self) -> KeyRing:
        """The keys."""
        return KeyRing.parse(_text(self.privacy_keys, self.privacy_keys_file))

    @field_validator("privacy_keys")
    @classmethod
    def _privacy_keys(cls, value: SecretStr) -> SecretStr:
        KeyRing.parse(value.get_secret_value())
        return value

    @field_validator("privacy_keys_file", mode="before")
    @classmethod
    def _privacy_keys_file(cls, value: Any, others: ValidationInfo) -> Any:
        if not value:
            return None
        given = others.data.get("privacy_keys")
        if given is not None and given.get_secret_value():
            raise ValueError("there are MILLSTREAM_PRIVACY_KEYS too")
        if not KeyRing.parse(_text(SecretStr(""), Path(value))):
            raise ValueError(f"there is no key in {value}")
        return value


def _text(keys: SecretStr, file: Path | None) -> str:
    if file is None:
        return keys.get_secret_value()
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "is no text"
        raise ValueError(f"{file}: {why}") from None
