"""RQ-VAE (Rajput et al. 2023): an autoencoder whose latent is a sum of codebook entries, coarse to
fine.

What keeps its codebooks alive on unit-norm embeddings, where a plain RQ-VAE collapses: inputs are
standardised, codebooks start from k-means, and codes that nobody used are moved to items now and
then.
"""

import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from scoter.config import SemanticIdConfig
from scoter.errors import DataError
from scoter.seeding import derive_seed
from scoter.semantic_ids.assign import Quantised
from scoter.semantic_ids.rqkmeans import kmeans
from scoter.storage.store import as_new_file

HIDDEN = (512, 256, 128)
BETA = 0.25
LEARNING_RATE = 1e-3
WEIGHT_DECAY = 0.01
LARGEST_BATCH = 1024
STEPS_PER_EPOCH = 8
RESET_EVERY = 10
RESET_UNTIL = 0.7
SAVE_EVERY = 50
CONSTANT = 1e-4


def fit_rqvae(
    vectors: Float[np.ndarray, "items dim"],
    config: SemanticIdConfig,
    seed: int,
    checkpoint: Path | None = None,
) -> Quantised:
    """Codes of each item, coarse to fine, and codebooks of the latent space, after `config.epochs`
    epochs of AdamW.

    With `checkpoint`, a folder, the state is kept there every `SAVE_EVERY` epochs, and a run that
    was killed ends with the codes that it would have had; pass an empty folder for each new fit.

    Limits: the codes of two machines, or of two thread counts, may differ, since products are
    rounded differently (bf16 where the processor has it).

    Raises:
        DataError: a vector holds NaN or infinity.
    """
    inputs = torch.from_numpy(standardise(vectors))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = RqVae(inputs.shape[1], config)
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True
    )
    path = checkpoint / "rqvae.safetensors" if checkpoint is not None else None
    start = _load(path, model, optimiser) if path is not None and path.is_file() else 0
    if start == 0:
        _start_from_kmeans(model, inputs, seed)
    for epoch in range(start, config.epochs):
        rng = np.random.default_rng(derive_seed(seed, "epoch", epoch))
        _train_epoch(model, optimiser, inputs, rng)
        if (epoch + 1) % RESET_EVERY == 0 and epoch < RESET_UNTIL * config.epochs:
            _move_dead_codes(model, optimiser, inputs, rng)
        if path is not None and (epoch + 1) % SAVE_EVERY == 0:
            _save(path, model, optimiser, epoch + 1)
    codes, residuals = model.quantise(model.latents(inputs))
    return Quantised(codes.numpy(), model.codebooks.detach().numpy(), residuals[-1].numpy())


def standardise(vectors: Float[np.ndarray, "items dim"]) -> Float32[np.ndarray, "items dim"]:
    """Each dimension with mean 0 and variance 1; one that hardly varies becomes 0.

    "Hardly" is `CONSTANT` times the largest deviation of any dimension: some sentence encoders have
    dead dimensions (all-MiniLM-L6-v2 has three), whose rounding errors must not be blown up.

    Raises:
        DataError: a vector holds NaN or infinity.
    """
    if not np.isfinite(vectors).all():
        row = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
        raise DataError(
            f"vectors[{row}] holds NaN or infinity; item vectors must be finite, so check where "
            f"they were made"
        )
    values = vectors.astype(np.float64)
    deviation = values.std(axis=0)
    varies = deviation > CONSTANT * deviation.max()
    return np.where(
        varies, (values - values.mean(axis=0)) / np.where(varies, deviation, 1), 0
    ).astype(np.float32)


class RqVae(nn.Module):
    """Encoder, residual codebooks and decoder; the decoder mirrors the encoder."""

    def __init__(self, dim: int, config: SemanticIdConfig) -> None:
        super().__init__()
        widths = (dim, *HIDDEN, config.latent_dim)
        self.encoder = _perceptron(widths)
        self.decoder = _perceptron(widths[::-1])
        self.codebooks = nn.Parameter(
            torch.zeros(config.levels, config.codebook_size, config.latent_dim)
        )

    def quantise(
        self, latent: Float[Tensor, "batch latent"]
    ) -> tuple[Int[Tensor, "batch levels"], Float[Tensor, "levels batch latent"]]:
        """The nearest entry of each level to what the levels before left over, and those
        left-overs."""
        codes, residuals = [], []
        residual = latent.detach()
        for book in self.codebooks.detach():
            residuals.append(residual)
            codes.append((book.square().sum(dim=1) - 2 * residual @ book.T).argmin(dim=1))
            residual = residual - book[codes[-1]]
        return torch.stack(codes, dim=1), torch.stack(residuals)

    def loss(self, inputs: Float[Tensor, "batch dim"]) -> Float[Tensor, ""]:
        """Reconstruction error, and at each level the codebook loss plus `BETA` times the
        commitment loss."""
        with _autocast():
            latent = self.encoder(inputs)
        latent = latent.float()
        codes, _ = self.quantise(latent)
        chosen = torch.stack(
            [book[code] for book, code in zip(self.codebooks, codes.T, strict=True)]
        )
        before = torch.cat([torch.zeros_like(chosen[:1]), chosen.detach().cumsum(dim=0)[:-1]])
        residuals = latent - before
        codebook = (residuals.detach() - chosen).square().mean(dim=(1, 2)).sum()
        commitment = (residuals - chosen.detach()).square().mean(dim=(1, 2)).sum()
        straight = latent + (chosen.sum(dim=0) - latent).detach()
        with _autocast():
            restored = self.decoder(straight)
        return functional.mse_loss(restored.float(), inputs) + codebook + BETA * commitment

    @torch.no_grad()
    def latents(self, inputs: Float[Tensor, "items dim"]) -> Float[Tensor, "items latent"]:
        return self.encoder(inputs)


def _perceptron(widths: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for narrow, wide in pairwise(widths):
        layers += [nn.Linear(narrow, wide), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _autocast() -> torch.autocast:
    return torch.autocast(
        "cpu",
        torch.bfloat16,
        enabled=torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported(),
    )


def _train_epoch(
    model: RqVae, optimiser: torch.optim.Optimizer, inputs: Tensor, rng: np.random.Generator
) -> None:
    count = max(len(inputs) // LARGEST_BATCH, min(STEPS_PER_EPOCH, len(inputs)))
    for rows in np.array_split(rng.permutation(len(inputs)), count):
        optimiser.zero_grad(set_to_none=True)
        model.loss(inputs[torch.from_numpy(rows)]).backward()
        optimiser.step()


@torch.no_grad()
def _start_from_kmeans(model: RqVae, inputs: Tensor, seed: int) -> None:
    residual = model.latents(inputs)
    for level, book in enumerate(model.codebooks):
        start = "spread" if level == 0 else "mean"
        book.copy_(
            torch.from_numpy(
                kmeans(residual.numpy(), len(book), derive_seed(seed, "codebook", level), start)
            )
        )
        residual = residual - book[model.quantise(model.latents(inputs))[0][:, level]]


@torch.no_grad()
def _move_dead_codes(
    model: RqVae, optimiser: torch.optim.Optimizer, inputs: Tensor, rng: np.random.Generator
) -> None:
    """Put every unused code onto the left-over of some item, and forget its optimiser moments."""
    codes, residuals = model.quantise(model.latents(inputs))
    state = optimiser.state[model.codebooks]
    for level, book in enumerate(model.codebooks):
        dead = torch.from_numpy(np.setdiff1d(np.arange(len(book)), codes[:, level].numpy()))
        rows = torch.from_numpy(rng.choice(len(inputs), len(dead), replace=False))
        book[dead] = residuals[level][rows]
        state["exp_avg"][level, dead] = 0
        state["exp_avg_sq"][level, dead] = 0


def _save(path: Path, model: RqVae, optimiser: torch.optim.Optimizer, epoch: int) -> None:
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for number, parameter in enumerate(model.parameters()):
        tensors |= {
            f"optimiser.{number}.{name}": value
            for name, value in optimiser.state[parameter].items()
        }
    partial = path.with_suffix(".partial")
    whole = {name: value.contiguous() for name, value in tensors.items()}
    with as_new_file(partial):
        save_file(whole, partial, {"epoch": str(epoch)})
    os.replace(partial, path)


def _load(path: Path, model: RqVae, optimiser: torch.optim.Optimizer) -> int:
    """Take up the state that `_save` left; the number of epochs that it has behind it."""
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        epoch = int(file.metadata()["epoch"])
    model.load_state_dict(
        {
            name.removeprefix("model."): value
            for name, value in tensors.items()
            if name.startswith("model.")
        }
    )
    for number, parameter in enumerate(model.parameters()):
        start = f"optimiser.{number}."
        optimiser.state[parameter] = {
            name.removeprefix(start): value
            for name, value in tensors.items()
            if name.startswith(start)
        }
    return epoch
