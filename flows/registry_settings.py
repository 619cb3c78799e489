"""Settings of the schema registry: where it is, and how it lets us in."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, field_validator

from flows.environment import PREFIX, SettingsError, parsed, values_of
from flows.secret_files import read_secrets
from operators.connectors.registry.schema_source import check_url

_FILES: Final = tuple(
    f"schema_registry_{name}"
    for name in ("token_file", "ca_location", "certificate_location", "key_location")
)


class RegistrySettings(BaseModel):
    """What a client of the registry needs to know; each is MILLSTREAM_ and its name."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    # A secret: its URL may have a password in it.
    schema_registry: SecretStr = Field(
        SecretStr(""),
        description="`http(s)://` of a Confluent-compatible registry (several with commas), or "
        "a folder of schemas; without it, the packaged schemas",
    )
    schema_registry_user: SecretStr = Field(SecretStr(""), description="`user:password`")
    schema_registry_token: SecretStr = Field(
        SecretStr(""), description="a bearer token, in the place of a user"
    )
    schema_registry_token_file: Path | None = Field(
        None, description="a file with a token that may be renewed, in the place of both"
    )
    schema_registry_ca_location: Path | None = Field(
        None, description="PEM file of a private CA; without it, the public CAs"
    )
    schema_registry_certificate_location: Path | None = Field(
        None, description="PEM file of a client's certificate"
    )
    schema_registry_key_location: Path | None = Field(None, description="PEM file of its key")
    schema_registry_key_password: SecretStr = Field(
        SecretStr(""), description="what the key is encrypted with"
    )

    @property
    def registry_config(self) -> dict[str, str]:
        """What is set, by the names of the registry's client."""
        every = {
            "basic.auth.user.info": self.schema_registry_user.get_secret_value(),
            "bearer.auth.token": self.schema_registry_token.get_secret_value(),
            "bearer.auth.token.file": self.schema_registry_token_file,
            "ssl.ca.location": self.schema_registry_ca_location,
            "ssl.certificate.location": self.schema_registry_certificate_location,
            "ssl.key.location": self.schema_registry_key_location,
            "ssl.key.password": self.schema_registry_key_password.get_secret_value(),
        }
        return {name: str(value) for name, value in every.items() if value}

    @field_validator("schema_registry")
    @classmethod
    def _registry(cls, value: SecretStr) -> SecretStr:
        check_url(value.get_secret_value())
        return value

    @field_validator("schema_registry_user")
    @classmethod
    def _registry_user(cls, value: SecretStr) -> SecretStr:
        # A file's last line ends with a line feed, which many a secret store keeps.
        text = value.get_secret_value().strip("\r\n")
        if text and ":" not in text:
            raise ValueError("must be user:password")
        return SecretStr(text)

    @field_validator("schema_registry_token")
    @classmethod
    def _registry_token(cls, value: SecretStr, others: ValidationInfo) -> SecretStr:
        text = value.get_secret_value().strip()
        if text and not (text.isascii() and text.isprintable()):
            raise ValueError("has characters that no token has")
        if text and others.data.get("schema_registry_user"):
            raise ValueError("there is a MILLSTREAM_SCHEMA_REGISTRY_USER too")
        return SecretStr(text)

    @field_validator(*_FILES, mode="before")
    @classmethod
    def _registry_file(cls, value: Any, others: ValidationInfo) -> Any:
        if not value:
            return None
        path = Path(value)
        if not path.exists():
            raise ValueError(f"there is no file {path}")
        for name, field, there in (
            ("schema_registry_token_file", "schema_registry_user", False),
            ("schema_registry_token_file", "schema_registry_token", False),
            ("schema_registry_key_location", "schema_registry_certificate_location", True),
        ):
            if others.field_name == name and bool(others.data.get(field)) != there:
                raise ValueError(
                    f"there is {'no' if there else 'a'} MILLSTREAM_{field.upper()}"
                )
        return path


def registry_settings(environ: Mapping[str, str] | None = None) -> RegistrySettings:
    """Return what is set of the schema registry, whatever else is missing; raises SettingsError."""
    environ, problems = read_secrets(os.environ if environ is None else environ)
    problems = [each for each in problems if each.startswith(f"{PREFIX}SCHEMA_REGISTRY")]
    given = values_of(environ, PREFIX, RegistrySettings.model_fields)
    found = parsed(RegistrySettings, PREFIX, given, problems)
    if found is None or problems:
        raise SettingsError("\n".join(problems))
    return found
