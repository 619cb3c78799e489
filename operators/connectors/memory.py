"""Memory: what an epoch has allocated is kept for the next one."""

import ctypes
import gc
from typing import Final

# glibc's mallopt parameters, from malloc.h.
_M_TRIM_THRESHOLD: Final = -1
_M_TOP_PAD: Final = -2
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8


def settle() -> None:
    """Tune this process's allocators for a long-lived worker; call once, before it starts.

    An epoch fills its buffers and lets them go at once. Given back to the system, every page
    of them is zeroed again for the next epoch, which took a quarter of the CPU time. The
    garbage collector need not walk again and again what is loaded by now.
    """
    gc.freeze()
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return  # not glibc
    mallopt(_M_TRIM_THRESHOLD, 1 << 30)
    mallopt(_M_TOP_PAD, 64 << 20)
    mallopt(_M_MMAP_THRESHOLD, 32 << 20)
    mallopt(_M_ARENA_MAX, 1)
