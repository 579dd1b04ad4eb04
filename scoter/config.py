"""Experiments as frozen values: JSON both ways, overrides by dotted path, unknown keys refused."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from functools import cache
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt

from scoter.errors import ConfigError, closest
from scoter.types import Step

_FORBID = {"extra": "forbid", "strict": True}

Count = Annotated[int, Ge(1), Le(2**31 - 1)]
Share = Annotated[float, Ge(0), Le(1)]
BelowOne = Annotated[float, Ge(0), Lt(1)]
Positive = Annotated[float, Gt(0), Lt(float("inf"))]
NotNegative = Annotated[float, Ge(0), Lt(float("inf"))]


@dataclass(frozen=True)
class SimulatedConfig:
    """The simulated shop. `order` is lambda: the share of next items that depend on the *order* of
    the plan."""

    __pydantic_config__ = _FORBID
    users: Count = 3000
    brands: Count = 5
    items_per_cell: Count = 6
    plan_length: Count = 2
    order: Share = 1.0
    noise: Share = 0.05
    min_length: Count = 6
    max_length: Count = 12


@dataclass(frozen=True)
class DataConfig:
    """Which dataset; `max_users` takes a fixed random sample of its users (0 means all of them)."""

    __pydantic_config__ = _FORBID
    name: str = "beauty"
    max_users: int = 0
    simulated: SimulatedConfig | None = None


@dataclass(frozen=True)
class TextConfig:
    """The sentence encoder, and the catalogue columns that make up an item's text."""

    __pydantic_config__ = _FORBID
    encoder: str = "all-MiniLM-L6-v2"
    fields: tuple[str, ...] = ("title", "brand", "categories", "phrase")


@dataclass(frozen=True)
class SemanticIdConfig:
    """Residual quantisation of item vectors.

    `source` auto means text where there is any, else co-occurrence; `text+cooccurrence` puts both
    beside each other, the latter times `cooccurrence_weight`. Co-occurrence is counted in the
    training log alone. `collisions` says how items of equal codes are told apart: by one more
    `level`, or by `reassign`ing distinct codes on the last one. `components` is how many principal
    axes of the vectors RQ-k-means sees; `epochs` and `latent_dim` are RQ-VAE's.
    """

    __pydantic_config__ = _FORBID
    method: Literal["rqvae", "rqkmeans"] = "rqkmeans"
    source: Literal["auto", "text", "cooccurrence", "text+cooccurrence"] = "auto"
    cooccurrence_weight: NotNegative = 1.0
    levels: Count = 3
    codebook_size: Count = 256
    collisions: Literal["level", "reassign"] = "level"
    components: Count = 64
    epochs: Count = 500
    latent_dim: Count = 32


@dataclass(frozen=True, kw_only=True)
class AskingConfig:
    """How a language model is asked for a chain: the prompt, the sampler, the form of a reply."""

    __pydantic_config__ = _FORBID
    prompt: Literal["full", "brief"] = "full"  # brief has no explanations, for small models
    # What the server holds a reply to: each role at its place (ordered; llama.cpp and vLLM take
    # it), the set of roles (any; hosted servers take it) or nothing (none).
    schema: Literal["ordered", "any", "none"] = "any"
    history_characters: Count = 3000  # of all titles in a prompt; the oldest are left out first
    title_characters: Annotated[int, Ge(16)] = 160  # of one title
    recommendations: Count = 5  # items that a reply names, at most
    temperature: NotNegative = 0.8  # of the sampler; 0 is greedy
    top_p: Annotated[float, Gt(0), Le(1)] = 0.95  # probability mass of nucleus sampling
    max_tokens: Count = 512  # of a reply
    retries: Annotated[int, Ge(0)] = 2  # how often an unusable reply is sent back

    def __post_init__(self) -> None:
        if self.title_characters < 16:
            least = f"title_characters = {self.title_characters}; a title needs at least 16"
            raise ConfigError(least)
        if self.history_characters < self.title_characters + 3:
            raise ConfigError(
                f"history_characters = {self.history_characters} holds no quoted title of "
                f"title_characters = {self.title_characters}; set it to "
                f"{self.title_characters + 3} or more"
            )
        if self.recommendations < 1:
            raise ConfigError(f"recommendations = {self.recommendations}; it must be 1 or more")


@dataclass(frozen=True, kw_only=True)
class SamplingConfig(AskingConfig):
    """How discovery asks a language model for chains."""

    samples: int = 4  # chains of a user and round
    text_characters: int = 300  # of a step's sentence or an item's name
    recommendations: Count = 10


@dataclass(frozen=True)
class DiscoverConfig:
    """Generate-Validate-Mine: how many patterns are tried on how many users, and how many are kept.

    `patterns` is the number of generated patterns over all `rounds`; what one round mines seeds the
    next one. A language model writes chains instead, `sampling.samples` a user and round.
    """

    __pydantic_config__ = _FORBID
    patterns: int = 64
    users: int = 2000
    fresh_users: int = 2000
    min_steps: int = 3
    max_steps: int = 6
    max_clusters: int = 8
    top_k: int = 10
    rounds: int = 1
    clustering: Literal["kmeans", "hdbscan"] = "kmeans"
    sampling: SamplingConfig = SamplingConfig()


@dataclass(frozen=True)
class ChainsConfig:
    """`source` names a folder that `scoter reason` wrote; where it is empty, the catalogue reasoner
    writes every chain."""

    __pydantic_config__ = _FORBID
    source: str = ""


@dataclass(frozen=True)
class PopularityConfig:
    __pydantic_config__ = _FORBID
    kind: Literal["popularity"] = "popularity"


@dataclass(frozen=True)
class SasrecConfig:
    """SASRec (Kang and McAuley 2018); `loss` ce is a softmax over the whole catalogue."""

    __pydantic_config__ = _FORBID
    kind: Literal["sasrec"] = "sasrec"
    loss: Literal["ce", "bce"] = "ce"
    dim: Count = 128
    layers: Count = 2
    heads: Count = 2
    dropout: BelowOne = 0.3
    max_items: Count = 50


@dataclass(frozen=True)
class TigerConfig:
    """TIGER (Rajput et al. 2023): a T5 encoder-decoder over semantic IDs, decoded by constrained
    beam search.

    `softmax` says over what a code's probability is normalised, in training and decoding: the whole
    `vocabulary`, as the paper has it, or the codes that can follow in the `trie` of the catalogue,
    which makes one distribution over items. `embedding_start` is where the token embeddings start:
    `random`, or at the `codebooks` behind the codes. `repeat_bias` learns, level by level, how much
    more or less likely an item becomes by standing in the history already (needs `trie`).
    """

    __pydantic_config__ = _FORBID
    kind: Literal["tiger"] = "tiger"
    dim: Count = 128
    layers: Count = 3
    heads: Count = 4
    head_dim: Count = 32
    feed_forward: Count = 512
    dropout: BelowOne = 0.1
    max_items: Count = 20
    beams: Count = 20
    softmax: Literal["vocabulary", "trie"] = "vocabulary"
    embedding_start: Literal["random", "codebooks"] = "random"
    repeat_bias: bool = False


@dataclass(frozen=True)
class Gru4RecConfig:
    """GRU4Rec (Hidasi et al. 2016) over whole histories, with a softmax over the whole
    catalogue."""

    __pydantic_config__ = _FORBID
    kind: Literal["gru4rec"] = "gru4rec"
    dim: Count = 128
    layers: Count = 1
    dropout: BelowOne = 0.3
    max_items: Count = 50


@dataclass(frozen=True)
class FusionConfig:
    """How a chain reaches the recommender: its ordered steps, or one of the controls
    (docs/controls.md has them all).

    `slots` sentence makes each sentence of a step a slot of its own, so that a list is not
    averaged; `grounded` puts beside each sentence the semantic ID of the item that it names; with
    `votes`, such a step has a vote for its item.

    `kind` says what becomes of the steps; `scores` has no fusion and mixes TIGER's scores with
    transition scores. `chains` says whose chain a user gets, or what stands in for it. `encoder`
    causal adds role vectors and causal self-attention over the steps. `reads` says where a decoder
    reads the chain: in every layer, in the last alone, or once, after the start token in its middle
    layer. `last_only` hides every step but the last, `without` hides step number `without` (from 1;
    0 hides none), `gate` false lets in all that is read. `alignment` is the weight of InfoNCE
    between steps and target items, at `temperature`. `chain_dropout` is the share of training
    examples whose chain is left out, so that the recommender learns to do without.
    """

    __pydantic_config__ = _FORBID
    kind: Literal[
        "structured",
        "meanpool",
        "tagged-pool",
        "concatenation",
        "bag",
        "shuffled",
        "noise",
        "scores",
    ] = "structured"
    chains: Literal["own", "other-user", "item-text", "features"] = "own"
    slots: Literal["step", "sentence"] = "step"
    grounded: bool = False
    votes: bool = False
    heads: Count = 4
    encoder: Literal["position", "causal"] = "position"
    reads: Literal["every-layer", "last-layer", "start"] = "start"
    last_only: bool = False
    without: int = 0
    gate: bool = True
    alignment: NotNegative = 0.0
    temperature: Positive = 0.1
    chain_dropout: BelowOne = 0.0


@dataclass(frozen=True)
class TrainingConfig:
    """One budget for every arm. Model selection uses NDCG@10 on all validation users.

    `embedding_rate` is the learning rate of a model's embedding tables in units of `learning_rate`.
    """

    __pydantic_config__ = _FORBID
    epochs: Count = 20
    batch_targets: Count = 1024
    learning_rate: Positive = 1e-3
    embedding_rate: Positive = 1.0
    weight_decay: NotNegative = 0.01
    warmup_share: Share = 0.05
    label_smoothing: BelowOne = 0.0
    evaluate_every: Count = 5
    patience: Count = 3
    precision: Literal["auto", "fp32", "bf16"] = "auto"


@dataclass(frozen=True)
class MethodConfig:
    __pydantic_config__ = _FORBID
    model: PopularityConfig | SasrecConfig | TigerConfig | Gru4RecConfig
    training: TrainingConfig = TrainingConfig()
    fusion: FusionConfig | None = None


@dataclass(frozen=True)
class Experiment:
    """Everything that a run depends on but its seed and the bytes of its data.

    `pattern` is empty where the pattern is mined; steps given here are used instead, as far as the
    items have what they speak of.
    """

    __pydantic_config__ = _FORBID
    name: str
    data: DataConfig
    methods: Mapping[str, MethodConfig]
    text: TextConfig = TextConfig()
    semantic_ids: SemanticIdConfig = SemanticIdConfig()
    discover: DiscoverConfig = DiscoverConfig()
    pattern: tuple[Step, ...] = ()
    chains: ChainsConfig = ChainsConfig()
    depth: int = 20
    note: str = field(default="")


def to_json(config: Any) -> str:
    """Canonical JSON of a config dataclass: sorted keys, so that equal configs have equal text."""
    return json.dumps(
        asdict(config) if is_dataclass(config) and not isinstance(config, type) else config,
        sort_keys=True,
    )


def from_json(text: str, kind: type = Experiment) -> Any:
    """The inverse of `to_json`; unknown keys and wrong types are refused.

    Example:
        >>> from_json('{"name": "beauty", "max_users": 100}', DataConfig)
        DataConfig(name='beauty', max_users=100, simulated=None)
    """
    from pydantic import ValidationError

    try:
        return _reader(kind).validate_json(text)
    except ValidationError as error:
        found = error.errors()
        others = [
            one["loc"][:-1] for one in found if one["loc"][-1:] == ("kind",)
        ]  # branches of models of another kind
        meant = [
            one
            for one in found
            if not any(one["loc"][: len(branch)] == branch for branch in others)
        ]
        first = (meant or found)[0]
        place = ".".join(str(part) for part in first["loc"])
        given = repr(first["input"])
        given = given if len(given) < 200 else given[:200] + "..."
        raise ConfigError(
            f"{kind.__name__}: {place} = {given} was refused: {first['msg']}"
        ) from None


@cache
def _reader(kind: type) -> Any:
    """Pydantic's reader of a config class, which takes longer to make than to use."""
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def with_overrides(config: Any, assignments: Sequence[str]) -> Any:
    """A copy with each `a.b.c=value` applied; values are JSON, or text where they are not; `*`
    names every key.

    Example:
        >>> with_overrides(DataConfig(), ["max_users=100"]).max_users
        100
    """
    tree = json.loads(
        json.dumps(asdict(config))
    )  # keeps the order of methods, which sorted keys would lose
    for assignment in assignments:
        path, equals, value = assignment.partition("=")
        if not equals:
            raise ConfigError(f"--set {assignment!r} has no '='; write it as a.b=value")
        try:
            parsed = json.loads(value)
        except (ValueError, RecursionError):
            parsed = value
        _assign(tree, path.split("."), parsed, assignment)
    return from_json(json.dumps(tree), type(config))


def _assign(tree: Any, path: list[str], value: Any, assignment: str) -> None:
    head, *rest = path
    names = list(tree) if head == "*" and isinstance(tree, dict) else [head]
    for name in names:
        if not isinstance(tree, dict) or name not in tree:
            known = sorted(tree) if isinstance(tree, dict) else []
            remedy = f"choose from: {', '.join(known) or 'nothing below it'}{closest(name, known)}"
            raise ConfigError(f"--set {assignment!r}: there is no {name!r} there; {remedy}")
        if rest:
            _assign(tree[name], rest, value, assignment)
        else:
            tree[name] = value
