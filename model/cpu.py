"""What a process that computes on a CPU sets once: whose matrix products are used, how many of them are kept compiled, and
that freed memory is kept.

PyTorch hands fp32 products to MKL, which on some makers' processors leaves the widest vector instructions unused; oneDNN,
which PyTorch carries too, uses them. It is reached through a setting that would allow rounding to bf16 where a processor has
matrix units for that, so it is taken only where products turn out to be those of fp32.
"""

import ctypes
import os

import torch

# Of compiled products, one a shape, in oneDNN and in what PyTorch has around it. By default 1024: about half a megabyte each,
# and batches of tuning come in hundreds of shapes. A step of one shape has some twenty.
CACHES = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64", "LRU_CACHE_CAPACITY": "64"}
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # of glibc's mallopt


def set_up_cpu() -> None:
    """For a training that runs on this CPU; all settings are those of the whole process, before its first product."""
    for name, capacity in CACHES.items():
        os.environ.setdefault(name, capacity)
    choose_products()
    keep_memory()


def choose_products() -> str:
    """Let oneDNN multiply fp32 matrices if it does so in full precision here; returns whose products are used now."""
    matmul = torch.backends.mkldnn.matmul
    before = matmul.fp32_precision
    if not torch.backends.mkldnn.is_available():
        return "MKL"
    matmul.fp32_precision = "bf16"
    if _in_full_precision():
        return "oneDNN"
    matmul.fp32_precision = before
    return "MKL"


def keep_memory() -> None:
    """Keep what is freed instead of giving it back: every step asks for the same again, and new pages are slow to touch."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc's; elsewhere nothing changes
    if mallopt is not None:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, (1 << 31) - 1)
        mallopt(_TOP_PAD, 64 << 20)


def _in_full_precision(size: int = 256) -> bool:
    """Whether a product of numbers that bf16 and tf32 round comes out exact."""
    fine = torch.full((size, size), 1 + 2.0**-12)
    return bool((torch.mm(fine, torch.eye(size)) == fine).all()) and bool((torch.mm(torch.eye(size), fine) == fine).all())
