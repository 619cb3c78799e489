"""Places: how far from where it was last a card is used, and how fast it would have to move."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import polars as pl

from operators.columns.arrays import Floats, Int64s
from operators.features import Found, Past

EARTH_RADIUS_M: Final = 6_371_008.8
"""The mean radius R1 of the WGS 84 ellipsoid, in metres."""


def haversine_m(
    latitude_1: Floats, longitude_1: Floats, latitude_2: Floats, longitude_2: Floats
) -> Floats:
    """Return great-circle distances in metres between points in degrees (haversine formula).

    R. W. Sinnott, "Virtues of the Haversine", Sky and Telescope 68 (1984).
    """
    one, two = np.radians(latitude_1), np.radians(latitude_2)
    half = np.sin((two - one) / 2) ** 2
    turn = np.sin(np.radians(longitude_2 - longitude_1) / 2) ** 2
    metres: Floats = (
        2 * EARTH_RADIUS_M * np.arcsin(np.sqrt(half + np.cos(one) * np.cos(two) * turn))
    )
    return metres


class Places:
    """`card_moved_m` and `card_speed_kmh`.

    The first is the distance in metres to where the card was used before (null if either place
    is unknown), the second the speed in km/h that this takes, from one second up.
    """

    name = "card_moved"
    version = 1
    columns: Mapping[str, pl.DataType] = {
        "card_moved_m": pl.Int64(), "card_speed_kmh": pl.Int64()
    }  # fmt: skip
    reads: Sequence[str] = ("latitude", "longitude")
    kept: Mapping[str, np.generic] = {
        "placed_at": np.int64(0), "latitude": np.float64(np.nan), "longitude": np.float64(np.nan)
    }  # fmt: skip

    def advance(
        self, past: Past, times: Int64s, read: Mapping[str, Floats]
    ) -> dict[str, Found]:
        """Return both columns in sorted order, and keep each card's newest place."""
        latitude, longitude = read["latitude"], read["longitude"]
        runs, carried = past.rows.runs, past.carried
        before, up_to = past.newest(~(np.isnan(latitude) | np.isnan(longitude)))
        inside = before >= 0
        row = np.where(inside, before, 0)
        old = {name: past.old(name) for name in self.kept}

        def previous(values: Floats, name: str) -> Floats:
            stored = np.where(~inside & carried, old[name][runs], np.nan)
            return np.where(inside, values[row], stored)

        was_time = np.where(inside, times[row], old["placed_at"][runs])
        moved = haversine_m(
            previous(latitude, "latitude"),
            previous(longitude, "longitude"),
            latitude,
            longitude,
        )
        unknown = np.isnan(moved)
        metres = np.rint(np.nan_to_num(moved)).astype(np.int64)
        seconds = np.maximum(np.abs(times - was_time) // 1_000_000, 1)
        speed = metres * 18 // (5 * seconds)
        kept = (up_to < 0) & carried[past.ends]
        for name, values in (
            ("latitude", latitude), ("longitude", longitude), ("placed_at", times)
        ):  # fmt: skip
            otherwise = np.where(kept, old[name], self.kept[name])
            past.keep(name, np.where(up_to >= 0, values[up_to], otherwise))
        return {"card_moved_m": (metres, unknown), "card_speed_kmh": (speed, unknown)}
