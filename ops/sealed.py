"""Records of tables as they came, whichever of them are encrypted."""

from collections.abc import Sequence
from typing import Final

import polars as pl

from operators.records.columns import KEY_ID, RECORD

SEALED: Final = (*RECORD, KEY_ID)
"""The columns to read of what may be encrypted."""


def decrypted(rows: pl.DataFrame, columns: Sequence[str] = RECORD) -> pl.DataFrame:
    """Return rows of records with these columns as they came, by the keys of the environment.

    No key is needed where none are encrypted. Raises SettingsError, and NoKeyError without the key.
    """
    if KEY_ID not in rows.columns:
        return rows
    if rows[KEY_ID].null_count() == rows.height:
        return rows.drop(KEY_ID)
    # Behind what most runs do not need, as it takes a while to import.
    from flows import settings as settings_
    from operators.privacy import opened

    return opened(rows, settings_.privacy_settings().key_ring, columns)
