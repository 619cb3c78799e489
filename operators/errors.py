"""Errors that are no fault of the program: what ends a flow with one line, not a traceback."""


class KnownError(RuntimeError):
    """Something in the world is not as it must be; the message is one line on what to do.

    It holds no payload values and no secrets. Who raises it has waited as long as that helps.
    """
