"""Both quantisers: against brute force, against collapse, and twice with one seed."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from scoter.config import SemanticIdConfig
from scoter.errors import CollapseError, ConfigError, DataError
from scoter.semantic_ids.build import build_semantic_ids, codebook_size_for
from scoter.semantic_ids.rqkmeans import fit_rqkmeans, kmeans, nearest, principal_axes
from scoter.semantic_ids.rqvae import fit_rqvae, standardise

SMALL_VAE = SemanticIdConfig(method="rqvae", codebook_size=16, epochs=30, latent_dim=8)
METHODS = [SemanticIdConfig(), SemanticIdConfig(method="rqvae", epochs=30)]


def unit_norm_mixture(items: int, dim: int = 64, groups: int = 40) -> np.ndarray:
    """Unit vectors around a common direction, in groups: what sentence embeddings of one shop look
    like."""
    rng = np.random.default_rng(0)
    centres = 1.0 + rng.normal(size=(groups, dim))
    vectors = centres[rng.integers(groups, size=items)] + 0.3 * rng.normal(size=(items, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def cell_means_error(vectors: np.ndarray, codes: np.ndarray) -> float:
    """Mean squared distance of an item from the mean of the items that share its codes."""
    _, cell = np.unique(codes, axis=0, return_inverse=True)
    cell = cell.reshape(-1)
    sums = np.zeros((cell.max() + 1, vectors.shape[1]))
    np.add.at(sums, cell, vectors)
    return float(np.square(vectors - (sums / np.bincount(cell)[:, None])[cell]).sum(axis=1).mean())


def test_nearest_equals_brute_force() -> None:
    rng = np.random.default_rng(1)
    points, centroids = (
        rng.normal(size=(200, 5)).astype(np.float32),
        rng.normal(size=(17, 5)).astype(np.float32),
    )
    brute = [
        min(range(17), key=lambda c: float(np.square(p.astype(float) - centroids[c]).sum()))
        for p in points
    ]
    assert nearest(points, centroids).tolist() == brute


def test_rqkmeans_codes_are_the_nearest_centroids_of_the_residual() -> None:
    """The first level is the nearest centroid of the item, the second of what is left: recomputed
    in the axes as they are."""
    vectors = unit_norm_mixture(300)
    codes = fit_rqkmeans(vectors, SemanticIdConfig(levels=2, codebook_size=8), seed=3).codes
    residual = vectors - vectors.mean(axis=0)
    for level in codes.T:
        means = np.stack([residual[level == code].mean(axis=0) for code in range(8)])
        distance = np.square(residual[:, None] - means).sum(axis=2)
        assert (distance.argmin(axis=1) == level).mean() > 0.99
        residual = residual - means[level]


def test_kmeans_finds_separated_groups() -> None:
    rng = np.random.default_rng(2)
    label = np.repeat(np.arange(5), 30)
    points = (20.0 * np.eye(5)[label] + rng.normal(size=(150, 5))).astype(np.float32)
    found = nearest(points, kmeans(points, 5, seed=0))
    assert len(set(zip(label.tolist(), found.tolist(), strict=True))) == 5


def test_principal_axes_keep_distances_and_order_by_variance() -> None:
    vectors = np.random.default_rng(0).normal(size=(50, 6)) * [1, 5, 2, 4, 3, 6]
    turned = principal_axes(vectors, 6)
    np.testing.assert_allclose(
        np.linalg.norm(turned[:1] - turned, axis=1),
        np.linalg.norm(vectors[:1] - vectors, axis=1),
        rtol=1e-5,
    )
    assert (np.diff(turned.var(axis=0)) < 0).all()
    np.testing.assert_allclose(turned[:, :2], principal_axes(vectors, 2), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", ["rqkmeans", "rqvae"])
def test_error_falls_with_every_level(method: str) -> None:
    vectors = unit_norm_mixture(600)
    found = (
        fit_rqkmeans(vectors, SemanticIdConfig(codebook_size=16), seed=0)
        if method == "rqkmeans"
        else fit_rqvae(vectors, SMALL_VAE, seed=0)
    )
    codes = found.codes
    errors = [cell_means_error(vectors, codes[:, :levels]) for levels in (1, 2, 3)]
    assert (
        np.square(vectors - vectors.mean(axis=0)).sum(axis=1).mean()
        > errors[0]
        > errors[1]
        > errors[2]
    )


@pytest.mark.parametrize("config", METHODS, ids=lambda config: config.method)
def test_one_seed_gives_one_result(config: SemanticIdConfig) -> None:
    vectors = unit_norm_mixture(200)
    first, second, other = (
        build_semantic_ids(vectors, config, seed)[0].codes for seed in (5, 5, 6)
    )
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)


def test_rqvae_leaves_the_global_random_state_alone() -> None:
    import torch

    torch.manual_seed(7)
    before = torch.get_rng_state()
    fit_rqvae(unit_norm_mixture(64), SMALL_VAE, seed=0)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("config", METHODS, ids=lambda config: config.method)
def test_unit_norm_embeddings_keep_the_codebooks_in_use(config: SemanticIdConfig) -> None:
    ids, report = build_semantic_ids(unit_norm_mixture(2000, groups=100), config, seed=0)
    assert min(report["usage"]) > 0.4  # .5 in bf16, .54 in fp32
    assert len(ids.codebook_sizes) == 4
    assert report["codebook_size"] == 250
    assert report["collision_rate"] < 0.5


@pytest.mark.parametrize(
    "config", [METHODS[0], replace(METHODS[1], epochs=16)], ids=lambda config: config.method
)
def test_reassigned_ids_keep_their_levels_and_differ_only_where_codes_collide(
    config: SemanticIdConfig,
) -> None:
    vectors = unit_norm_mixture(600, groups=100)
    with_level, report = build_semantic_ids(vectors, config, seed=0)
    ids, _ = build_semantic_ids(vectors, replace(config, collisions="reassign"), seed=0)
    assert ids.codes.shape == (600, 3)
    assert ids.codebook_sizes == with_level.codebook_sizes[:3]
    moved = (ids.codes != with_level.codes[:, :3]).any(axis=1)
    assert 0 < moved.mean() <= report["collision_rate"]
    assert ids.codebooks is not None
    assert ids.codebooks.shape[:2] == (3, ids.codebook_sizes[0])


@pytest.mark.parametrize("config", METHODS, ids=lambda config: config.method)
def test_small_catalogues_work(config: SemanticIdConfig) -> None:
    for items in (1, 2, 7, 20, 512):
        vectors = np.random.default_rng(items).normal(size=(items, 8))
        ids, _ = build_semantic_ids(vectors, config, seed=0)
        assert ids.codes.shape == (items, 4)


def test_equal_items_differ_in_the_last_level_only() -> None:
    """A shop of 8 x 8 kinds, eight equal items of each: legitimate, and no collapse."""
    kinds = np.random.default_rng(0).normal(size=(64, 16))
    ids, report = build_semantic_ids(np.repeat(kinds, 8, axis=0), SemanticIdConfig(), seed=0)
    assert report["distinct_vectors"] == 64
    assert report["codebook_sizes"][-1] == report["largest_group"] == 8
    groups = ids.codes[:, :-1].reshape(64, 8, -1)
    assert (groups == groups[:, :1]).all()


@pytest.mark.parametrize(
    "config", [METHODS[0], replace(METHODS[1], epochs=4)], ids=lambda config: config.method
)
@pytest.mark.parametrize("items", [2, 5, 24])
def test_items_that_reassigning_cannot_tell_apart_get_one_more_level(
    config: SemanticIdConfig, items: int
) -> None:
    """Half of the catalogue is of one kind, more items than the last codebook has codes."""
    config = replace(config, collisions="reassign")
    vectors = np.random.default_rng(0).normal(size=(items, 8))
    vectors[: items // 2 + 1] = vectors[0]
    ids, report = build_semantic_ids(vectors, config, seed=0)
    assert ids.codes.shape == (items, 4)
    assert report["collisions"] == "level"
    assert len(set(ids.codes[: items // 2 + 1, 3].tolist())) == items // 2 + 1
    as_asked, told = build_semantic_ids(vectors, replace(config, collisions="level"), seed=0)
    np.testing.assert_array_equal(ids.codes, as_asked.codes)
    assert report == told


@pytest.mark.parametrize("collisions", ["level", "reassign"])
@pytest.mark.parametrize(
    "config", [METHODS[0], replace(METHODS[1], epochs=4)], ids=lambda config: config.method
)
@pytest.mark.parametrize("value", [0.0, 0.25])
def test_equal_vectors_share_one_code_a_level_and_are_numbered(
    config: SemanticIdConfig, collisions: Any, value: float
) -> None:
    """Nothing is known of any item: all texts are equal, or nothing was bought beside anything."""
    ids, report = build_semantic_ids(
        np.full((30, 16), value), replace(config, collisions=collisions), seed=0
    )
    assert ids.codebook_sizes == (1, 1, 1, 30)
    assert sorted(ids.codes[:, 3].tolist()) == list(range(30))
    assert ids.codebooks is not None
    assert np.isfinite(ids.codebooks).all()
    assert (report["distinct_vectors"], report["largest_group"], report["collisions"]) == (
        1,
        30,
        "level",
    )


@pytest.mark.parametrize("config", METHODS, ids=lambda config: config.method)
def test_nearly_equal_vectors_are_a_collapse(config: SemanticIdConfig) -> None:
    vectors = np.ones((300, 16)) / 4 + 1e-6 * np.random.default_rng(0).normal(size=(300, 16))
    with pytest.raises(
        CollapseError, match=r"300 item vectors are nearly equal .*check text.fields"
    ):
        build_semantic_ids(vectors, config, seed=0)


def test_vectors_with_nan_are_refused() -> None:
    vectors = unit_norm_mixture(50)
    vectors[3, 1] = np.nan
    for config in METHODS:
        with pytest.raises(DataError, match=r"vectors\[3\] holds NaN"):
            build_semantic_ids(vectors, config, seed=0)


def test_a_codebook_larger_than_the_catalogue_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"codebook_size = 9.*with 8 items"):
        fit_rqkmeans(np.eye(8), SemanticIdConfig(levels=2, codebook_size=9), seed=0)


@pytest.mark.parametrize("items", [1, 3, 9, 64, 1000, 12101])
@pytest.mark.parametrize("levels", [1, 2, 3, 4])
def test_clipped_codebooks_can_still_name_every_item(items: int, levels: int) -> None:
    size = codebook_size_for(items, SemanticIdConfig(levels=levels, codebook_size=10**6))
    assert 1 <= size <= items <= size**levels


def test_standardise_does_not_blow_up_dead_dimensions() -> None:
    vectors = unit_norm_mixture(100)
    vectors[:, 5] = 1e-9 * np.random.default_rng(0).normal(size=100)
    values = standardise(vectors)
    assert (values[:, 5] == 0).all()
    alive = np.delete(values, 5, axis=1)
    np.testing.assert_allclose(alive.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(alive.std(axis=0), 1, rtol=1e-4)
