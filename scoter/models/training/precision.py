"""Where a model computes and how precisely: processor or GPU, fp32 or bf16."""

import os
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn

from scoter.errors import ConfigError

CPU = torch.device("cpu")


def resolve_precision(wanted: str, device: torch.device = CPU) -> str:
    """`fp32` or `bf16`; `auto` takes bf16 only on a processor that multiplies it natively.

    On a GPU it takes fp32: models this small wait there for kernels to start, and casting starts
    more of them.
    """
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "fp32"
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16" if native else "fp32"


def resolve_device(wanted: str) -> torch.device:
    """The device that `cpu` or `cuda` names; each `LOCAL_RANK` of a machine has its own."""
    if wanted not in ("cpu", "cuda"):
        raise ConfigError(f"device = {wanted!r}; choose cpu or cuda")
    if wanted == "cpu":
        return CPU
    rank = int(os.environ.get("LOCAL_RANK", 0))
    if rank >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise ConfigError(
            f"device = 'cuda', but process {rank} of this machine finds {count} GPUs; use --device "
            "cpu, or start no more processes than there are GPUs with a CUDA build of torch"
        )
    return torch.device("cuda", rank)


def device_of(model: nn.Module) -> torch.device:
    """Where a model's parameters are."""
    return next(model.parameters()).device


def name_of(device: torch.device) -> str:
    """`cpu`, or a GPU's product name."""
    return "cpu" if device.type == "cpu" else torch.cuda.get_device_name(device)


def placed(device: torch.device) -> AbstractContextManager:
    """New tensors are made on `device`; on the processor, where they are anyway, a no-op."""
    return nullcontext() if device.type == "cpu" else device


def autocast(precision: str, device: torch.device = CPU) -> AbstractContextManager:
    """Mixed precision for matrix products; parameters, residuals and norms stay fp32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
