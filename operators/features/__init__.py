"""Features: what each event looks like against its key's own past, as data or as code."""

from operators.features.by_another import WOKEN
from operators.features.declared import Features
from operators.features.feature import Feature, Source
from operators.features.files import FeatureError, load_features, read_features
from operators.features.keeps import Former, StateLacksFeaturesError
from operators.features.partition import Coded, Found, PartitionFeatures
from operators.features.past import Past
from operators.features.whole import WholeFeatures

__all__ = [
    "WOKEN",
    "Coded",
    "Feature",
    "FeatureError",
    "Features",
    "Former",
    "Found",
    "PartitionFeatures",
    "Past",
    "Source",
    "StateLacksFeaturesError",
    "WholeFeatures",
    "load_features",
    "read_features",
]
