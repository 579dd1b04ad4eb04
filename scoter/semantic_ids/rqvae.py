"""RQ-VAE (Rajput et al. 2023): an autoencoder whose latent is a sum of codebook entries.

A plain RQ-VAE collapses on unit-norm embeddings. So inputs are standardised, codebooks start from
k-means, and codes that no item uses are moved to items now and then.
"""

from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from numpy.random import Generator
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import AdamW, Optimizer

from scoter.config import SemanticIdConfig
from scoter.seeding import derive_seed
from scoter.semantic_ids.assign import Quantised, Vectors
from scoter.semantic_ids.rqkmeans import kmeans

HIDDEN = (512, 256, 128)  # widths of the encoder's hidden layers
BETA = 0.25  # weight of the commitment loss
LEARNING_RATE = 1e-3
WEIGHT_DECAY = 0.01
LARGEST_BATCH = 1024  # items
STEPS_PER_EPOCH = 8  # at least, where there are so many items
RESET_EVERY = 10  # epochs between moves of unused codes
RESET_UNTIL = 0.7  # share of the epochs after which none is moved
CONSTANT = 1e-4  # a dimension that varies less, relative to the largest deviation, is dead


def fit_rqvae(vectors: Vectors, config: SemanticIdConfig, seed: int) -> Quantised:
    """Codes of each item and codebooks of the latent space, after `config.epochs` of AdamW.

    Codes may differ between machines and thread counts (bf16 where the processor has it).
    """
    inputs = torch.from_numpy(standardise(vectors))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = RqVae(inputs.shape[1], config)
    weights = model.parameters()
    optimiser = AdamW(weights, LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True)
    _start_from_kmeans(model, inputs, seed)
    for epoch in range(config.epochs):
        rng = np.random.default_rng(derive_seed(seed, "epoch", epoch))
        _train_epoch(model, optimiser, inputs, rng)
        if (epoch + 1) % RESET_EVERY == 0 and epoch < RESET_UNTIL * config.epochs:
            _move_dead_codes(model, optimiser, inputs, rng)
    codes, residuals = model.quantise(model.latents(inputs))
    return Quantised(codes.numpy(), model.codebooks.detach().numpy(), residuals[-1].numpy())


def standardise(vectors: Vectors) -> Float32[np.ndarray, "items dim"]:
    """Each dimension with mean 0 and variance 1; a dead one becomes 0 (all-MiniLM-L6-v2 has 3)."""
    values = vectors.astype(np.float64)
    deviation = values.std(axis=0)
    varies = deviation > CONSTANT * deviation.max()
    scaled = (values - values.mean(axis=0)) / np.where(varies, deviation, 1)
    return np.where(varies, scaled, 0).astype(np.float32)


class RqVae(nn.Module):
    """Encoder, residual codebooks and decoder; the decoder mirrors the encoder."""

    def __init__(self, dim: int, config: SemanticIdConfig) -> None:
        super().__init__()
        widths = (dim, *HIDDEN, config.latent_dim)
        self.encoder = _perceptron(widths)
        self.decoder = _perceptron(widths[::-1])
        shape = (config.levels, config.codebook_size, config.latent_dim)
        self.codebooks = nn.Parameter(torch.zeros(shape))

    def quantise(
        self, latent: Float[Tensor, "batch latent"]
    ) -> tuple[Int[Tensor, "batch levels"], Float[Tensor, "levels batch latent"]]:
        """The nearest entry of each level to its residual, and those residuals."""
        codes, residuals = [], []
        residual = latent.detach()
        for book in self.codebooks.detach():
            residuals.append(residual)
            codes.append((book.square().sum(dim=1) - 2 * residual @ book.T).argmin(dim=1))
            residual = residual - book[codes[-1]]
        return torch.stack(codes, dim=1), torch.stack(residuals)

    def loss(self, inputs: Float[Tensor, "batch dim"]) -> Float[Tensor, ""]:
        """Reconstruction error, and of each level codebook loss plus `BETA` times commitment."""
        with _autocast():
            latent = self.encoder(inputs)
        latent = latent.float()
        codes, _ = self.quantise(latent)
        levels = zip(self.codebooks, codes.T, strict=True)
        chosen = torch.stack([book[code] for book, code in levels])
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
    has_bf16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.autocast("cpu", torch.bfloat16, enabled=has_bf16)


def _train_epoch(model: RqVae, optimiser: Optimizer, inputs: Tensor, rng: Generator) -> None:
    count = max(len(inputs) // LARGEST_BATCH, min(STEPS_PER_EPOCH, len(inputs)))
    for rows in np.array_split(rng.permutation(len(inputs)), count):
        optimiser.zero_grad(set_to_none=True)
        model.loss(inputs[torch.from_numpy(rows)]).backward()
        optimiser.step()


@torch.no_grad()
def _start_from_kmeans(model: RqVae, inputs: Tensor, seed: int) -> None:
    latents = model.latents(inputs)
    residual = latents
    for level, book in enumerate(model.codebooks):
        level_seed = derive_seed(seed, "codebook", level)
        centroids = kmeans(residual.numpy(), len(book), level_seed, grouped=level == 0)
        book.copy_(torch.from_numpy(centroids))
        residual = residual - book[model.quantise(latents)[0][:, level]]


@torch.no_grad()
def _move_dead_codes(model: RqVae, optimiser: Optimizer, inputs: Tensor, rng: Generator) -> None:
    """Put every unused code onto the residual of some item, and forget its optimiser moments."""
    codes, residuals = model.quantise(model.latents(inputs))
    state = optimiser.state[model.codebooks]
    for level, book in enumerate(model.codebooks):
        dead = torch.from_numpy(np.setdiff1d(np.arange(len(book)), codes[:, level].numpy()))
        rows = torch.from_numpy(rng.choice(len(inputs), len(dead), replace=False))
        book[dead] = residuals[level][rows]
        state["exp_avg"][level, dead] = 0
        state["exp_avg_sq"][level, dead] = 0
