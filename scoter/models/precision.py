"""bf16 where the processor has it, fp32 elsewhere; the choice is recorded with every result."""

from contextlib import AbstractContextManager

import torch


def resolve_precision(wanted: str) -> str:
    """`fp32` or `bf16`; `auto` takes bf16 only where the processor multiplies it natively."""
    if wanted != "auto":
        return wanted
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16" if native else "fp32"


def autocast(precision: str) -> AbstractContextManager:
    """Mixed precision for matrix products; parameters, residuals and norms stay fp32."""
    return torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")
