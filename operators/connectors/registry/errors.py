"""What is wrong with a schema registry."""

from operators.errors import KnownError


class RegistryUnavailableError(KnownError):
    """The registry did not answer, or not as a registry does, for as long as one waits."""


class RegistryAwayError(Exception):
    """A call was not answered as a registry does; the next one may be."""


class RegistryDeniedError(Exception):
    """The registry does not let us in."""
