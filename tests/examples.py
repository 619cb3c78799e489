"""How many examples Hypothesis tries: a share of its profile's, so that each profile scales all."""

from hypothesis import settings


def examples(share: float, **more: int) -> settings:
    """Return settings with a share of the profile's examples, three at the least."""
    most = settings.default.max_examples
    return settings(max_examples=max(3, round(share * most)), **more)
