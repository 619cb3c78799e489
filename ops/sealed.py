"""Records of tables as they came, whichever of them are encrypted."""

from collections.abc import Sequence

import polars as pl

from flows import settings as settings_
from operators.privacy import opened
from operators.records.columns import KEY_ID, RECORD


def decrypted(rows: pl.DataFrame, columns: Sequence[str] = RECORD) -> pl.DataFrame:
    """Return rows of records with these columns as they came, by the keys of the environment.

    No key is needed where none are encrypted. Raises SettingsError, and NoKeyError without the key.
    """
    if KEY_ID not in rows.columns:
        return rows
    return opened(rows, settings_.privacy_settings().key_ring, columns)
