"""Named experiments: a function returns a whole frozen config, and variants derive by `replace`."""

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path

from scoter.config import (
    ChainsConfig,
    DataConfig,
    DiscoverConfig,
    Experiment,
    FusionConfig,
    Gru4RecConfig,
    MethodConfig,
    PopularityConfig,
    SasrecConfig,
    SemanticIdConfig,
    SimulatedConfig,
    TextConfig,
    TigerConfig,
    TrainingConfig,
)
from scoter.data.sources import DATASETS, prepared_names
from scoter.errors import ConfigError, closest
from scoter.types import Step

REAL_DATASETS = ("beauty", "sports", "toys", "yelp", "instruments")

# Chosen on Beauty's validation users; what was tried stands in docs/log.md.
TIGER_MODEL = TigerConfig(
    dropout=0.2, softmax="trie", embedding_start="codebooks", repeat_bias=True
)
TIGER_TRAINING = TrainingConfig(epochs=30, batch_targets=512, embedding_rate=10.0)
TIGER_IDS = SemanticIdConfig(source="text+cooccurrence", collisions="reassign", components=512)

NO_VOTES, MIXED_SCORES = "control-no-votes", "control-mixed-scores"
# What each can and cannot show stands in docs/controls.md.
_FUSIONS = {
    "control-tagged-pool": FusionConfig("tagged-pool"),
    "control-concatenation": FusionConfig("concatenation"),
    "control-last-step": FusionConfig(last_only=True),
    "control-bag": FusionConfig("bag"),
    "control-shuffled": FusionConfig("shuffled"),
    "control-other-user": FusionConfig(source="other-user"),
    "control-noise": FusionConfig("noise"),
    "control-no-gate": FusionConfig(gate=False),
    NO_VOTES: FusionConfig(),
    "control-every-layer": FusionConfig(placement="every-layer"),
    "control-causal-steps": FusionConfig(encoder="causal"),
    "control-infonce": FusionConfig(alignment=0.1),
    "control-meanpool-infonce": FusionConfig("meanpool", alignment=0.1),
    "control-item-text": FusionConfig(source="item-text"),
    "control-features": FusionConfig(source="features"),
    MIXED_SCORES: None,
    **{f"control-without-step-{step}": FusionConfig(without=step) for step in range(1, 15)},
}
CONTROLS = tuple(_FUSIONS)


# Written by hand, not mined: mined patterns end in a list of items, and a step that averages a list
# says little. Here each of the ten likeliest items is a step of its own, said with how sure it is.
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


def methods(
    training: TrainingConfig = TIGER_TRAINING,
    tiger: TigerConfig = TIGER_MODEL,
    sasrec: TrainingConfig = TrainingConfig(epochs=48, evaluate_every=2, patience=6),
    grounded: bool = False,
) -> dict[str, MethodConfig]:
    """Every method of the comparison. The TIGER arms share model, budget and semantic IDs; the
    others share a budget.

    `grounded` has every arm read its chains with the semantic IDs of the items that they name, the
    controls among them which read chains of the reasoner's own words; and gives steps that are kept
    apart and name an item a vote for it.
    """
    found = {
        "popularity": MethodConfig(PopularityConfig()),
        "sasrec-bce": MethodConfig(SasrecConfig(loss="bce", dropout=0.5), sasrec),
        "sasrec-ce": MethodConfig(SasrecConfig(loss="ce", dropout=0.5), sasrec),
        "sasrec-ce-scoter": MethodConfig(
            SasrecConfig(loss="ce", dropout=0.5), sasrec, FusionConfig("structured")
        ),
        "gru4rec": MethodConfig(Gru4RecConfig(), sasrec),
        "gru4rec-scoter": MethodConfig(Gru4RecConfig(), sasrec, FusionConfig("structured")),
        "tiger": MethodConfig(tiger, training),
        "tiger-meanpool": MethodConfig(tiger, training, FusionConfig("meanpool")),
    }
    found |= {name: control(name, found["tiger"]) for name in CONTROLS}
    found["scoter"] = MethodConfig(tiger, training, FusionConfig("structured"))
    return {
        name: _grounded(method, name != NO_VOTES) if grounded else method
        for name, method in found.items()
    }


def control(name: str, arm: MethodConfig) -> MethodConfig:
    """The control of that name, with the model and the training of `arm`.

    Example:
        >>> control("control-bag", methods()["scoter"]).fusion.module
        'bag'
    """
    return replace(arm, fusion=_FUSIONS[name], mixed_scores=name == MIXED_SCORES)


def _grounded(method: MethodConfig, votes: bool) -> MethodConfig:
    fusion = method.fusion
    if fusion is None or fusion.source in ("item-text", "features"):
        return method
    votes = votes and fusion.module == "structured"
    return replace(method, fusion=replace(fusion, grounded=True, votes=votes))


def quickstart() -> Experiment:
    """A few minutes: five methods on a fixed sample of Beauty's users. Not the benchmark, and
    labelled so."""
    short = replace(TIGER_TRAINING, epochs=4, evaluate_every=2, batch_targets=256)
    chosen = methods(
        short, sasrec=TrainingConfig(epochs=24, evaluate_every=8, batch_targets=512), grounded=True
    )
    return Experiment(
        name="quickstart",
        data=DataConfig("beauty", max_users=1200),
        methods={
            name: chosen[name]
            for name in ("popularity", "sasrec-ce", "tiger", "tiger-meanpool", "scoter")
        },
        semantic_ids=TIGER_IDS,
        discover=DiscoverConfig(patterns=32, users=500, fresh_users=500),
        note="a fixed sample of 1,200 Beauty users and their items: a demonstration, not the "
        "benchmark",
    )


def simulated(order: float, epochs: int = 4, learning_rate: float = 4e-3) -> Experiment:
    """The simulated shop, where `order` (lambda) says how much of the next purchase depends on the
    plan's order."""
    short = TrainingConfig(
        epochs=epochs, evaluate_every=epochs, batch_targets=256, learning_rate=learning_rate
    )
    small = TigerConfig(dim=64, layers=1, heads=2, head_dim=32, feed_forward=512, max_items=12)
    chosen = methods(short, small)
    return Experiment(
        name="simulated",
        data=DataConfig("simulated", simulated=SimulatedConfig(order=order)),
        methods={
            name: chosen[name] for name in ("popularity", "tiger", "tiger-meanpool", "scoter")
        },
        text=TextConfig(fields=("title", "categories")),
        semantic_ids=SemanticIdConfig(codebook_size=32, levels=1),
        discover=DiscoverConfig(patterns=96, users=800, fresh_users=2000, rounds=4),
        pattern=(
            Step("recent_item", {"lag": 2, "field": "brand"}),
            Step("recent_item", {"lag": 1, "field": "brand"}),
        ),
        note="a simulated shop, not real shoppers; chains follow the planted pattern, `scoter "
        "discover simulated` mines one",
    )


def simulated_smoke() -> Experiment:
    """The simulated shop with lambda = 1, where order is worth most; four epochs, so that it ends
    within a minute."""
    return replace(simulated(order=1.0), name="simulated-smoke")


def simulated_unordered() -> Experiment:
    """The simulated shop with lambda = 0: order is worth nothing, so structure should be worth
    nothing over a pool.

    Twenty-four epochs at half the rate, since what is compared is what the arms can learn: after
    few, the pool with its fewer parameters leads, and at the full rate one seed of three stayed on
    a plateau.
    """
    return replace(simulated(order=0.0, epochs=24, learning_rate=2e-3), name="simulated-unordered")


def simulated_controls() -> Experiment:
    """lambda = 1 with another user's chains beside TIGER and SCoTER: chains in the wrong hands
    should not help."""
    shop = simulated(order=1.0)
    tiger, arm, other = shop.methods["tiger"], shop.methods["scoter"], "control-other-user"
    chosen = {"tiger": tiger, other: control(other, arm), "scoter": arm}
    return replace(shop, name="simulated-controls", methods=chosen)


def simulated_controls_all() -> Experiment:
    """lambda = 1 with every control, in the budget of `simulated-smoke`: what each loses is known
    here beforehand."""
    shop = simulated(order=1.0)
    arm = shop.methods["scoter"]
    chosen = {**shop.methods, **{name: control(name, arm) for name in CONTROLS}}
    # Nothing votes here, since these chains name no items.
    left = [
        name
        for name in CONTROLS
        if name != NO_VOTES and not name.startswith("control-without-step-")
    ]
    left += [f"control-without-step-{step}" for step in range(1, len(shop.pattern) + 1)]
    return replace(
        shop,
        name="simulated-controls-all",
        methods={name: chosen[name] for name in ("tiger", "tiger-meanpool", *left, "scoter")},
    )


def beauty_smollm2() -> Experiment:
    """Chains of a real language model, SmolLM2-135M, all the way to a table. A model that small
    proves the plumbing only.

    The chains lie in the store, where these commands put them (the pattern file is in the
    documentation): `scoter reason beauty --set data.max_users=1000 --pattern P.json
    --language-model local --prefixes anchors:3:1 --out artifacts/reason/beauty-smollm2`.
    """
    short = replace(TIGER_TRAINING, epochs=6, evaluate_every=3, batch_targets=256)
    chosen = methods(short)
    return Experiment(
        name="beauty-smollm2",
        data=DataConfig("beauty", max_users=1000),
        methods={name: chosen[name] for name in ("tiger", "scoter")},
        chains=ChainsConfig("reason/beauty-smollm2"),
        note="a fixed sample of 1,000 Beauty users and their items; chains by a model of 135 "
        "million parameters: "
        "this proves the plumbing only",
    )


def benchmark(dataset: str, method: str) -> Experiment:
    """One cell of the benchmark: one method on all users of one dataset; chains follow
    `RANKED_PATTERN`, grounded."""
    chosen = methods(grounded=True)[method]
    return Experiment(
        name=_cell_name(dataset, method),
        data=DataConfig(dataset),
        methods={method: chosen},
        semantic_ids=TIGER_IDS,
        pattern=() if chosen.fusion is None and not chosen.mixed_scores else RANKED_PATTERN,
    )


METHOD_ALIASES = {"tiger-meanpool": "collapsed"}


def _cell_name(dataset: str, method: str) -> str:
    return f"{dataset}-{METHOD_ALIASES.get(method, method)}"


def _registry() -> dict[str, Callable[[], Experiment]]:
    named: dict[str, Callable[[], Experiment]] = {
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


def experiment(name: str, data_dir: Path | None = None) -> Experiment:
    """The experiment of that name, or of a dataset: `DATASET-METHOD`, or `DATASET` for SCoTER.

    A dataset of one's own is named as its plug-in, or as its prepared folder, which is `data_dir`,
    or lies in `data_dir` or in `$SCOTER_DATA`.

    Raises:
        ConfigError: there is neither; the message names what is most like it.

    Example:
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
