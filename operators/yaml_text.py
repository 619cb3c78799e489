"""YAML texts: rules, features and contracts are stated in them."""

from typing import Any

import yaml
from yaml import YAMLError as YAMLError

# As quick as C where PyYAML was built with it: a flow reads two dozen texts before it starts.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read(text: str) -> Any:
    """Return what a text states; raises YAMLError, which shows the place."""
    try:
        return yaml.load(text, _LOADER)  # noqa: S506 # either is a safe one
    except YAMLError:
        # In Python it shows the line as well.
        return yaml.safe_load(text)
