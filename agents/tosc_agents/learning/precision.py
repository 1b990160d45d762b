"""bf16 where the processor gains by it, float32 on request."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

Precision = Literal["auto", "bf16", "float32"]


def has_fast_bf16(device: torch.device) -> bool:
    """True where bf16 matrix products are native: AVX512-BF16 or AMX on a CPU, Ampere or newer on CUDA."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def resolve_precision(precision: Precision, device: torch.device) -> Literal["bf16", "float32"]:
    """``auto`` becomes bf16 where that is native, else float32."""
    if precision == "auto":
        return "bf16" if has_fast_bf16(device) else "float32"
    return precision


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """A context in which matrix products and convolutions run in the chosen precision; weights stay float32."""
    if resolve_precision(precision, device) == "bf16":
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()
