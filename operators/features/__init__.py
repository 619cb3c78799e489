"""Features: what each event looks like against its key's own past, as data or as code."""

from operators.features.declared import Features
from operators.features.feature import Feature, Source
from operators.features.files import FeatureError, load_features, read_feature
from operators.features.keeps import Former, StateLacksFeaturesError
from operators.features.partition import Coded, Found, PartitionFeatures
from operators.features.past import Past

__all__ = [
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
    "load_features",
    "read_feature",
]
