"""Named experiments: a function returns a whole frozen config, and variants derive by `replace`."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from scoter import config
from scoter.data.sources import DATASETS, prepared_names
from scoter.errors import ConfigError, closest
from scoter.types import Step

REAL_DATASETS = ("beauty", "sports", "toys", "yelp", "instruments")

# Chosen on Beauty's validation users; what was tried stands in docs/log.md.
TIGER_MODEL = config.TigerConfig(
    dropout=0.2, softmax="trie", embedding_start="codebooks", repeat_bias=True
)
TIGER_TRAINING = config.TrainingConfig(epochs=30, batch_targets=512, embedding_rate=10.0)
TIGER_IDS = config.SemanticIdConfig(
    source="text+cooccurrence", collisions="reassign", components=512
)

NO_VOTES = "control-no-votes"
MIXED_SCORES, MIXED_REASONS = "control-mixed-scores", "control-mixed-reasons"
# Controls that read other patterns than the mined one, and which.
PATTERN_CONTROLS: dict[str, config.PatternFrom] = {
    "control-hand-written": "hand-written",
    "control-random-pattern": "random",
    "control-single-step": "single-step",
    "control-zero-shot": "zero-shot",
}
# So many training examples read no chain, so that a missing one is no disaster.
LEFT_OUT = 0.3


def _reads(module: str = "structured", **fields: Any) -> config.FusionConfig:
    return config.FusionConfig(module, chain_dropout=LEFT_OUT, **fields)


# What each can and cannot show stands in docs/controls.md.
_FUSIONS: dict[str, config.FusionConfig | None] = {
    "control-tagged-pool": _reads("tagged-pool"),
    "control-concatenation": _reads("concatenation"),
    "control-last-step": _reads(last_only=True),
    "control-bag": _reads("bag"),
    "control-shuffled": _reads("shuffled"),
    "control-other-user": _reads(source="other-user"),
    "control-noise": _reads("noise"),
    "control-no-gate": _reads(gate=False),
    NO_VOTES: _reads(),
    "control-every-layer": _reads(placement="every-layer"),
    "control-votes-only": _reads(placement="nowhere", grounded=True, votes=True, detached=True),
    "control-causal-steps": _reads(encoder="causal"),
    "control-infonce": _reads(alignment=0.1),
    "control-meanpool-infonce": _reads("meanpool", alignment=0.1),
    "control-item-text": _reads(source="item-text"),
    "control-features": _reads(source="features"),
    MIXED_SCORES: None,
    MIXED_REASONS: None,
    **{name: _reads() for name in PATTERN_CONTROLS},
    **{f"control-without-step-{step}": _reads(without=step) for step in range(1, 15)},
}
# From the paper's recipe to ours: what each row changes of the row before it. After the last one
# comes `tiger`, which also drops a fifth of the values.
ABLATIONS = {
    "tiger-paper": "",
    "tiger-k-means": "semantic_ids.method=rqkmeans",
    "tiger-components": "semantic_ids.components=512",
    "tiger-cooccurrence": "semantic_ids.source=text+cooccurrence",
    "tiger-reassigned": "semantic_ids.collisions=reassign",
    "tiger-embedding-rate": "methods.*.training.embedding_rate=10.0",
    "tiger-trie": "methods.*.model.softmax=trie",
    "tiger-codebooks": "methods.*.model.embedding_start=codebooks",
    "tiger-repeats": "methods.*.model.repeat_bias=true",
}
CONTROLS = tuple(_FUSIONS)


DISCOVERY = config.DiscoverConfig(
    patterns=96, users=6000, fresh_users=3000, max_steps=8, rounds=4, epochs=6, top_k=50
)
# Written by hand: each of the ten likeliest items is a step of its own, with how certain it is.
RANKED_PATTERN = (
    Step("long_term_preference", {"count": 2, "level": "category"}),
    Step("recent_item", {"field": "item", "lag": 2}),
    Step("recent_item", {"field": "item", "lag": 1}),
    Step("likely_next", {"count": 3, "what": "category", "window": 3}),
    *(
        Step("recommendation", {"count": 1, "degrees": 8, "rank": rank, "window": 3})
        for rank in range(1, 11)
    ),
)
# Mined on all users of Beauty with seed 0, when a ladder could still be shed in part: for data with
# too few users to mine a pattern on.
RECORDED_PATTERN = (
    Step("likely_next", {"what": "item", "count": 5, "window": 1}),
    Step("recent_item", {"lag": 4, "field": "item"}),
    Step("bought_together", {"count": 5}),
    *(
        Step(
            "recommendation", {"by": "reasons", "count": 1, "degrees": 8, "rank": rank, "window": 3}
        )
        for rank in range(1, 11)
    ),
)


def methods(
    training: config.TrainingConfig = TIGER_TRAINING,
    tiger: config.TigerConfig = TIGER_MODEL,
    sasrec: config.TrainingConfig = config.TrainingConfig(epochs=48, evaluate_every=2, patience=6),
    grounded: bool = False,
) -> dict[str, config.MethodConfig]:
    """Every method of the comparison; the TIGER arms share model, budget and semantic IDs.

    Where `grounded`, chains are read with the semantic IDs of the items that they name, and ordered
    steps that name an item vote for it, beside the recommender's own training.
    """
    chains, pooled, gru = _reads(), _reads("meanpool"), config.Gru4RecConfig()
    bce, ce = (config.SasrecConfig(loss=loss, dropout=0.5) for loss in ("bce", "ce"))
    arms = {
        "popularity": config.MethodConfig(config.PopularityConfig()),
        "transition-graph": config.MethodConfig(config.TransitionsConfig()),
        "item-knn": config.MethodConfig(config.ItemKnnConfig()),
        "ease": config.MethodConfig(config.EaseConfig()),
        "reasons-logit": config.MethodConfig(config.ReasonsConfig()),
        "sasrec-bce": config.MethodConfig(bce, sasrec),
        "sasrec-ce": config.MethodConfig(ce, sasrec),
        "sasrec-ce-scoter": config.MethodConfig(ce, sasrec, chains),
        "gru4rec": config.MethodConfig(gru, sasrec),
        "gru4rec-scoter": config.MethodConfig(gru, sasrec, chains),
        "tiger": config.MethodConfig(tiger, training),
        "tiger-meanpool": config.MethodConfig(tiger, training, pooled),
    }
    arms |= {name: control(name, arms["tiger"]) for name in CONTROLS}
    arms["scoter"] = config.MethodConfig(tiger, training, chains)
    if grounded:
        return {name: _grounded(arm, name != NO_VOTES) for name, arm in arms.items()}
    return arms


def control(name: str, arm: config.MethodConfig) -> config.MethodConfig:
    """The control of that name, with the model and the training of `arm`.

    >>> control("control-bag", methods()["scoter"]).fusion.module
    'bag'
    """
    mixed = name in (MIXED_SCORES, MIXED_REASONS)
    counted = "reasons" if name == MIXED_REASONS else "transitions"
    return replace(arm, fusion=_FUSIONS[name], mixed_scores=mixed, mixed_with=counted)


def _grounded(method: config.MethodConfig, votes: bool) -> config.MethodConfig:
    fusion = method.fusion
    if fusion is None or fusion.source in ("item-text", "features"):
        return method
    votes = votes and fusion.module == "structured"
    return replace(method, fusion=replace(fusion, grounded=True, votes=votes, detached=votes))


def quickstart() -> config.Experiment:
    """Five methods on a fixed sample of Beauty's users, in minutes; a demonstration."""
    short = replace(TIGER_TRAINING, epochs=4, evaluate_every=2, batch_targets=256)
    sasrec = config.TrainingConfig(epochs=24, evaluate_every=8, batch_targets=512)
    names = ("popularity", "sasrec-ce", "tiger", "tiger-meanpool", "scoter")
    return config.Experiment(
        name="quickstart",
        data=config.DataConfig("beauty", max_users=1200),
        methods=_chosen(methods(short, sasrec=sasrec, grounded=True), names),
        semantic_ids=TIGER_IDS,
        pattern=RECORDED_PATTERN,
        note="a fixed sample of 1,200 Beauty users and their items: a demonstration, not the "
        "benchmark; chains follow a pattern that was mined on all of Beauty",
    )


def _chosen(
    arms: dict[str, config.MethodConfig], names: Sequence[str]
) -> dict[str, config.MethodConfig]:
    return {name: arms[name] for name in names}


def simulated(order: float, epochs: int = 4, learning_rate: float = 4e-3) -> config.Experiment:
    """The simulated shop; `order` (lambda) is how much of the next item depends on the order."""
    short = config.TrainingConfig(
        epochs=epochs, evaluate_every=epochs, batch_targets=256, learning_rate=learning_rate
    )
    small = config.TigerConfig(
        dim=64, layers=1, heads=2, head_dim=32, feed_forward=512, max_items=12
    )
    return config.Experiment(
        name="simulated",
        data=config.DataConfig("simulated", simulated=config.SimulatedConfig(order=order)),
        methods=_chosen(methods(short, small), ("popularity", "tiger", "tiger-meanpool", "scoter")),
        text=config.TextConfig(fields=("title", "categories")),
        semantic_ids=config.SemanticIdConfig(codebook_size=32, levels=1),
        discover=config.DiscoverConfig(patterns=160, users=800, fresh_users=2000, rounds=4),
        pattern=(
            Step("recent_item", {"lag": 2, "field": "brand"}),
            Step("recent_item", {"lag": 1, "field": "brand"}),
        ),
        note="a simulated shop, not real shoppers; chains follow the planted pattern, `scoter "
        "discover simulated` mines one",
    )


def simulated_smoke() -> config.Experiment:
    """The simulated shop with lambda = 1, where order is worth most; within a minute."""
    return replace(simulated(order=1.0), name="simulated-smoke")


def simulated_unordered() -> config.Experiment:
    """The simulated shop with lambda = 0: structure should gain nothing over a pool.

    Twenty-four epochs at half the rate: after few epochs the pool leads, as it has fewer
    parameters, and at the full rate one seed of three stayed on a plateau.
    """
    return replace(simulated(order=0.0, epochs=24, learning_rate=2e-3), name="simulated-unordered")


def simulated_controls() -> config.Experiment:
    """lambda = 1 with another user's chains beside TIGER and SCoTER: these should not help."""
    shop = simulated(order=1.0)
    tiger, arm, other = shop.methods["tiger"], shop.methods["scoter"], "control-other-user"
    chosen = {"tiger": tiger, other: control(other, arm), "scoter": arm}
    return replace(shop, name="simulated-controls", methods=chosen)


def simulated_controls_all() -> config.Experiment:
    """lambda = 1 with every control, where it is known beforehand what each loses."""
    shop = simulated(order=1.0)
    arm = shop.methods["scoter"]
    chosen = {**shop.methods, **{name: control(name, arm) for name in CONTROLS}}
    # Nothing votes here, since these chains name no items.
    without = "control-without-step-"
    left = [name for name in CONTROLS if name != NO_VOTES and not name.startswith(without)]
    left += [f"{without}{step}" for step in range(1, len(shop.pattern) + 1)]
    arms = _chosen(chosen, ("tiger", "tiger-meanpool", *left, "scoter"))
    return replace(shop, name="simulated-controls-all", methods=arms)


def beauty_smollm2() -> config.Experiment:
    """Chains of SmolLM2-135M, a real language model, on a sample of Beauty: a test of the way.

    They lie in the store, written by `scoter reason beauty --set data.max_users=1000 --pattern
    P.json --language-model local --prefixes anchors:3:1 --out artifacts/reason/beauty-smollm2`.
    """
    short = replace(TIGER_TRAINING, epochs=6, evaluate_every=3, batch_targets=256)
    return config.Experiment(
        name="beauty-smollm2",
        data=config.DataConfig("beauty", max_users=1000),
        methods=_chosen(methods(short), ("tiger", "scoter")),
        chains=config.ChainsConfig("reason/beauty-smollm2"),
        note="a fixed sample of 1,000 Beauty users and their items; chains by a model of 135 "
        "million parameters: this proves the plumbing only",
    )


def benchmark(dataset: str, method: str) -> config.Experiment:
    """One method on all users of a dataset; chains follow the mined pattern, grounded."""
    if method in ABLATIONS:
        return ablation(dataset, method)
    return config.Experiment(
        name=_cell_name(dataset, method),
        data=config.DataConfig(dataset),
        methods={method: methods(grounded=True)[method]},
        semantic_ids=TIGER_IDS,
        discover=DISCOVERY,
        pattern_from=PATTERN_CONTROLS.get(method, "mined"),
    )


def with_methods(base: config.Experiment, names: list[str]) -> config.Experiment:
    """The experiment with these methods, their model and training as its `scoter` has them."""
    arm = base.methods.get("scoter")
    if arm is None or arm.fusion is None or not isinstance(arm.model, config.TigerConfig):
        raise ConfigError(f"{base.name} has no scoter to compare with; name its dataset alone")
    known = methods(arm.training, arm.model, grounded=arm.fusion.grounded)
    for name in names:
        if name not in known:
            remedy = f"choose from {', '.join(known)}{closest(name, known)}"
            raise ConfigError(f"there is no method {name!r}; {remedy}")
    return replace(base, methods=_chosen(known, names))


def ablation(dataset: str, name: str) -> config.Experiment:
    """TIGER with the changes of `ABLATIONS` up to that name.

    The paper's recipe is that of its text, as far as this TIGER can follow it: it trains on all
    targets of a user at once, and has no user token.
    """
    plain = config.MethodConfig(config.TigerConfig(), replace(TIGER_TRAINING, embedding_rate=1.0))
    start = config.Experiment(
        name=_cell_name(dataset, name),
        data=config.DataConfig(dataset),
        methods={name: plain},
        semantic_ids=config.SemanticIdConfig(method="rqvae", source="text"),
    )
    changes = list(ABLATIONS.values())[1 : list(ABLATIONS).index(name) + 1]
    return config.with_overrides(start, changes)


METHOD_ALIASES = {"tiger-meanpool": "collapsed"}


def _cell_name(dataset: str, method: str) -> str:
    return f"{dataset}-{METHOD_ALIASES.get(method, method)}"


def _registry() -> dict[str, Callable[[], config.Experiment]]:
    named: dict[str, Callable[[], config.Experiment]] = {
        "quickstart": quickstart,
        "simulated-smoke": simulated_smoke,
        "simulated-unordered": simulated_unordered,
        "simulated-controls": simulated_controls,
        "simulated-controls-all": simulated_controls_all,
        "beauty-smollm2": beauty_smollm2,
    }
    for dataset in REAL_DATASETS:
        for method in methods():
            named[_cell_name(dataset, method)] = lambda d=dataset, m=method: benchmark(d, m)
    return named


EXPERIMENTS = _registry()


def experiment(name: str, data_dir: Path | None = None) -> config.Experiment:
    """The experiment of that name, or of a dataset: `DATASET-METHOD`, or `DATASET` for SCoTER.

    Your own dataset has the name of its plug-in, or of its prepared folder: `data_dir`, or one in
    it or in `$SCOTER_DATA`.

    >>> list(experiment("beauty-collapsed").methods)
    ['tiger-meanpool']
    >>> experiment("beauty") == experiment("beauty-scoter")
    True
    """
    if name in EXPERIMENTS:
        return EXPERIMENTS[name]()
    own = [*DATASETS.names(), *prepared_names(data_dir)]
    cells = {_cell_name(*cell): cell for cell in product(own, methods())}
    cells |= {dataset: (dataset, "scoter") for dataset in (*REAL_DATASETS, *own)}
    if name in cells:
        return benchmark(*cells[name])
    if name == "simulated":
        return simulated_smoke()
    where = "$SCOTER_DATA and data-cache/ have" if data_dir is None else f"--data {data_dir} has"
    raise ConfigError(
        f"there is no experiment or dataset {name!r}; `scoter ls` lists the experiments, and a "
        f"dataset of your own is named as its prepared folder ({where} {', '.join(own) or 'none'})"
        f"{closest(name, [*EXPERIMENTS, *cells, 'simulated'])}"
    )
