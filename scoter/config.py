"""Experiments as frozen values: JSON both ways, overrides by dotted path, unknown keys refused."""

import json
import re
import typing
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from functools import cache
from typing import TYPE_CHECKING, Annotated, Literal, Protocol, TypeVar

from annotated_types import Ge, Gt, Le, Lt
from pydantic import PlainValidator, ValidationError

from scoter.arguments import refusal
from scoter.errors import ConfigError, closest
from scoter.plugins import BACKBONES, FUSIONS
from scoter.types import EvaluationProtocol, Step

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from pydantic import TypeAdapter
else:

    @typing.runtime_checkable
    class DataclassInstance(Protocol):
        """Any dataclass, as type checkers know it."""


Config = TypeVar("Config", bound="DataclassInstance")

Kind = TypeVar("Kind")
_FORBID = {"extra": "forbid", "strict": True}

Count = Annotated[int, Ge(1), Le(2**31 - 1)]
Share = Annotated[float, Ge(0), Le(1)]
BelowOne = Annotated[float, Ge(0), Lt(1)]
Positive = Annotated[float, Gt(0), Lt(float("inf"))]
NotNegative = Annotated[float, Ge(0), Lt(float("inf"))]


@typing.dataclass_transform(frozen_default=True)
def _frozen(kind: type[Kind]) -> type[Kind]:
    """A frozen dataclass whose JSON has exactly its fields, each of its type."""
    setattr(kind, "__pydantic_config__", _FORBID)  # noqa: B010
    return dataclass(frozen=True)(kind)


def check_heads(heads: int, dim: int) -> None:
    """Refuse attention heads that cannot share hidden states of that width."""
    if heads < 1 or dim % heads:
        whole = "the width must be a multiple of it"
        raise ConfigError(f"heads = {heads} does not divide dim = {dim}; {whole}")


@_frozen
class SimulatedConfig:
    """The simulated shop, whose shoppers follow a planted plan."""

    users: Count = 3000  # number of shoppers
    brands: Count = 5  # number of brands
    items_per_cell: Count = 6  # items of each brand and category
    plan_length: Count = 2  # earlier purchases that decide the next one
    order: Share = 1.0  # lambda: the share of next items that depend on the plan's order
    noise: Share = 0.05  # the share of purchases that are random
    min_length: Count = 6  # purchases of a shopper, at least
    max_length: Count = 12  # purchases of a shopper, at most


@_frozen
class DataConfig:
    """The dataset."""

    name: str = "beauty"  # a known dataset, or the name of a prepared folder
    max_users: int = 0  # size of a fixed random sample of users; 0 takes all
    simulated: SimulatedConfig | None = None  # settings of the simulated shop
    # B: trained with the validation items too, for as long as A chose; only unseen items are ranked
    protocol: EvaluationProtocol = "A"

    @property
    def label(self) -> str:
        """Its name in tables, which keep the protocols apart."""
        return f"{self.name}-b" if self.protocol == "B" else self.name


@_frozen
class TextConfig:
    """The sentence encoder and the texts of items."""

    encoder: str = "all-MiniLM-L6-v2"  # a sentence-transformers model
    fields: tuple[str, ...] = ("title", "brand", "categories", "phrase")  # catalogue columns used


@_frozen
class SemanticIdConfig:
    """Residual quantisation of item vectors."""

    method: Literal["rqvae", "rqkmeans"] = "rqkmeans"  # the quantiser
    # auto: text where there is any, else co-occurrence counts of the training log
    source: Literal["auto", "text", "cooccurrence", "text+cooccurrence"] = "auto"
    cooccurrence_weight: NotNegative = 1.0  # factor of co-occurrence beside text
    levels: Count = 3  # codes of an item
    codebook_size: Count = 256  # codes of a level
    # items of equal codes get one more level, or distinct codes on the last one
    collisions: Literal["level", "reassign"] = "level"
    components: Count = 64  # principal axes that RQ-k-means sees
    epochs: Count = 500  # RQ-VAE only
    latent_dim: Count = 32  # RQ-VAE only


@dataclass(frozen=True, kw_only=True)
class AskingConfig:
    """How a language model is asked for a chain: the prompt, the sampler, the form of a reply."""

    __pydantic_config__ = _FORBID
    prompt: Literal["full", "brief"] = "full"  # brief has no explanations, for small models
    # ordered: each role at its place (llama.cpp, vLLM); any: the set of roles (hosted servers too)
    schema: Literal["ordered", "any", "none"] = "any"  # the form that the server enforces
    history_characters: Count = 3000  # of all titles in a prompt; the oldest are left out first
    title_characters: Annotated[int, Ge(16)] = 160  # of one title
    recommendations: Count = 5  # items that a reply names, at most
    temperature: NotNegative = 0.8  # of the sampler; 0 is greedy
    top_p: Annotated[float, Gt(0), Le(1)] = 0.95  # probability mass of nucleus sampling
    max_tokens: Annotated[int, Ge(0)] = 512  # of a reply; 0: as many as its longest form needs
    retries: Annotated[int, Ge(0)] = 2  # how often an unusable reply is sent back

    def __post_init__(self) -> None:
        if self.title_characters < 16:
            raise ConfigError(f"title_characters = {self.title_characters}; it must be 16 or more")
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
    recommendations: Count = 10  # items that a reply names, at most


@_frozen
class DiscoverConfig:
    """Generate-Validate-Mine: how many patterns are tried on how many users, how many are kept."""

    patterns: int = 64  # generated patterns over all rounds
    users: int = 2000  # users that patterns are validated on
    fresh_users: int = 2000  # other users, for the final comparison
    min_steps: int = 3  # steps of a generated pattern, at least; ranked items count as one
    max_steps: int = 6  # steps of a generated pattern, at most
    recommender: str = "tiger"  # what patterns are validated over: a method's name
    epochs: Count = 6  # that it is trained, without the users' targets
    max_clusters: int = 8  # clusters of patterns
    top_k: int = 10  # items that a chain recommends; k of the measured recall
    rounds: int = 1  # what one round mines seeds the next one
    clustering: Literal["kmeans", "hdbscan"] = "kmeans"  # the clustering method
    sampling: SamplingConfig = SamplingConfig()  # where a language model writes the chains


@_frozen
class ChainsConfig:
    """Where chains come from."""

    # a folder of `scoter reason`, or a table of chains; empty: the catalogue reasoner writes
    source: str = ""
    items: int = 3  # of chains by item: the last items of a prefix whose steps are read
    after_reasoner: bool = False  # the catalogue reasoner's steps come first, then those of source


@typing.runtime_checkable
class ModelConfig(DataclassInstance, Protocol):
    """What every backbone's config has; a frozen dataclass."""

    @property
    def kind(self) -> str: ...  # the name under which the backbone is registered
    @property
    def dim(self) -> int: ...  # width of the hidden states that a fusion reads
    @property
    def max_items(self) -> int: ...  # newest items of a history that are read


@_frozen
class PopularityConfig:
    """The most popular items; nothing to choose."""

    kind: Literal["popularity"] = "popularity"
    dim = max_items = 0


@_frozen
class TransitionsConfig:
    """What follows the last items, untrained."""

    kind: Literal["transitions"] = "transitions"
    window: Count = 2  # last items of a history that count
    decay: Share = 0.5  # weight of an item relative to the one after it
    dim = max_items = 0


@_frozen
class ItemKnnConfig:
    """Neighbours by the cosine of two items' buyers."""

    kind: Literal["item-knn"] = "item-knn"
    decay: Share = 0.7  # weight of an item of the history relative to the one after it
    repeats: bool = False  # whether items of the history are recommended again
    dim = max_items = 0


@_frozen
class EaseConfig:
    """EASE (Steck 2019)."""

    kind: Literal["ease"] = "ease"
    l2: Positive = 150.0  # penalty of the squared weights
    repeats: bool = False  # whether items of the history are recommended again
    dim = max_items = 0


# The version of how chains and reasons count; docs/reproduce.md tells them apart.
REASONS = 3


@_frozen
class ReasonsConfig:
    """The conditional logit of counted reasons."""

    kind: Literal["reasons"] = "reasons"
    users: Count = 6000  # users whose last training items the weights are fitted on, at most
    seed: Annotated[int, Ge(0)] = 0  # draws these users and the items beside their targets
    dim = max_items = 0


@_frozen
class SasrecConfig:
    """SASRec (Kang and McAuley 2018)."""

    kind: Literal["sasrec"] = "sasrec"
    loss: Literal["ce", "bce"] = "ce"  # softmax over the catalogue, or one sampled negative
    dim: Count = 128  # width of hidden states
    layers: Count = 2  # transformer layers
    heads: Count = 2  # attention heads
    dropout: BelowOne = 0.3  # share of values dropped in training
    max_items: Count = 50  # newest items of a history that are read

    def __post_init__(self) -> None:
        check_heads(self.heads, self.dim)


@_frozen
class TigerConfig:
    """TIGER (Rajput et al. 2023): a T5 over semantic IDs, decoded by constrained beam search."""

    kind: Literal["tiger"] = "tiger"
    dim: Count = 128  # width of hidden states
    layers: Count = 3  # layers of the encoder, and of the decoder
    heads: Count = 4  # attention heads
    head_dim: Count = 32  # width of a head
    feed_forward: Count = 512  # inner width of the feed-forward layers
    dropout: BelowOne = 0.1  # share of values dropped in training
    max_items: Count = 20  # newest items of a history that are read
    beams: Count = 20  # width of the beam search
    # codes are normalised over the vocabulary (the paper), or over those that can follow
    softmax: Literal["vocabulary", "trie"] = "vocabulary"
    embedding_start: Literal["random", "codebooks"] = "random"  # initial token embeddings
    repeat_bias: bool = False  # learn, level by level, how likely repeats are; needs trie


@_frozen
class Gru4RecConfig:
    """GRU4Rec (Hidasi et al. 2016) over whole histories, with a softmax over the catalogue."""

    kind: Literal["gru4rec"] = "gru4rec"
    dim: Count = 128  # width of hidden states
    layers: Count = 1  # recurrent layers
    dropout: BelowOne = 0.3  # share of values dropped in training
    max_items: Count = 50  # newest items of a history that are read


_MODELS = {"popularity": PopularityConfig, "sasrec": SasrecConfig}
_MODELS |= {"tiger": TigerConfig, "gru4rec": Gru4RecConfig}
_MODELS |= {"transitions": TransitionsConfig, "item-knn": ItemKnnConfig}
_MODELS |= {"ease": EaseConfig, "reasons": ReasonsConfig}


def _model(tree: object) -> ModelConfig:
    """A model's config, read with the class of its kind: ours, or a plug-in's."""
    kind = tree.get("kind") if isinstance(tree, dict) else None
    if not isinstance(kind, str):
        raise ConfigError(f"model = {tree!r} has no kind; choose from: {', '.join(_MODELS)}")
    read_as = _MODELS.get(kind) or _config_of_plugin(kind)
    if "__pydantic_config__" not in vars(read_as):
        setattr(read_as, "__pydantic_config__", _FORBID)  # noqa: B010
    return typing.cast("TypeAdapter[ModelConfig]", _reader(read_as)).validate_json(json.dumps(tree))


def _config_of_plugin(kind: str) -> type:
    made: type = BACKBONES.get(kind).Config
    known = {*dir(made), *getattr(made, "__dataclass_fields__", ())}
    lacking = [name for name in ("kind", "dim", "max_items") if name not in known]
    if lacking or not is_dataclass(made):
        lacks = f"model.kind = {kind!r} has {made!r} as its Config, which must be a dataclass"
        raise ConfigError(f"{lacks} with kind, dim and max_items; define {', '.join(lacking)}")
    return made


def _fusion_name(name: object) -> str:
    if name not in FUSIONS.built_in:
        FUSIONS.get(str(name))
    return str(name)


def _method_name(name: object) -> str:
    if re.fullmatch(r"\w[\w@.+-]*", str(name), re.ASCII) is None:
        raise ConfigError(
            f"method name {name!r} cannot name a file; use letters, digits and any of @ . + _ -"
        )
    return str(name)


@_frozen
class FusionConfig:
    """How a chain reaches the recommender; docs/controls.md lists the controls."""

    # Module: what becomes of the steps.
    # the ordered steps, a control, or a registered fusion
    module: Annotated[str, PlainValidator(_fusion_name)] = "structured"
    heads: Count = 4  # attention heads; must divide the recommender's width
    encoder: Literal["position", "causal"] = "position"  # causal: roles and attention among steps
    gate: bool = True  # a gate decides how much enters; false: all that is read
    votes: bool = False  # a step that names an item votes for it; needs grounded
    # votes are trained beside the recommender, whose own loss does not know of them
    detached: bool = False
    # Source: whose chain is read, and which parts of it.
    source: Literal["own", "other-user", "item-text", "features"] = "own"
    slots: Literal["step", "sentence"] = "step"  # sentence: a list is not averaged
    grounded: bool = False  # sentences carry the semantic ID of the item that they name
    last_only: bool = False  # hide every step but the last
    without: int = 0  # number of the step to hide, from 1; 0 hides none
    # Placement: where a recommender reads; start: once, after a decoder's start token, in its
    # middle layer; nowhere: only the votes know of the chain.
    placement: Literal["every-layer", "last-layer", "start", "nowhere"] = "start"
    # Loss.
    alignment: NotNegative = 0.0  # weight of InfoNCE between steps and target items
    temperature: Positive = 0.1  # of InfoNCE
    chain_dropout: BelowOne = 0.0  # share of training examples whose chain is left out


@_frozen
class TrainingConfig:
    """One budget for every method; the best epoch is chosen by NDCG@10 on the validation users."""

    epochs: Count = 20  # passes over the training part, at most
    batch_targets: Count = 1024  # target items of a batch
    learning_rate: Positive = 1e-3  # of AdamW, at its highest
    embedding_rate: Positive = 1.0  # rate of embedding tables, in units of learning_rate
    weight_decay: NotNegative = 0.01  # of matrices
    warmup_share: Share = 0.05  # share of the steps in which the rate rises
    label_smoothing: BelowOne = 0.0  # share of a label given to all others
    evaluate_every: Count = 5  # epochs between validations
    patience: Count = 3  # validations without a better one before training ends
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # of matrix products


@_frozen
class MethodConfig:
    """A recommender, how it is trained, and how it reads chains."""

    model: Annotated[ModelConfig, PlainValidator(_model)]  # the backbone
    training: TrainingConfig = TrainingConfig()
    fusion: FusionConfig | None = None  # None: no chain is read
    mixed_scores: bool = False  # mix the model's scores with what is counted when ranking
    mixed_with: Literal["transitions", "reasons"] = "transitions"  # what is counted

    def __post_init__(self) -> None:
        if self.fusion is not None and self.fusion.module in FUSIONS.built_in:
            check_heads(self.fusion.heads, self.model.dim)


PatternFrom = Literal["mined", "hand-written", "random", "single-step", "zero-shot"]


@_frozen
class Experiment:
    """Everything that a run depends on but its seed and the bytes of its data."""

    name: str
    data: DataConfig
    # by name, in the order of the tables
    methods: Mapping[Annotated[str, PlainValidator(_method_name)], MethodConfig]
    text: TextConfig = TextConfig()
    semantic_ids: SemanticIdConfig = SemanticIdConfig()
    discover: DiscoverConfig = DiscoverConfig()
    pattern: tuple[Step, ...] = ()  # used as far as the items allow; empty: see pattern_from
    pattern_from: PatternFrom = "mined"  # mined, or a rival of the mined pattern
    chains: ChainsConfig = ChainsConfig()
    depth: Annotated[int, Ge(10), Le(1000)] = 20  # items ranked for each user
    note: str = ""  # shown with the results


def to_json(config: "DataclassInstance | Mapping[str, object]") -> str:
    """Canonical JSON of a config: sorted keys, so that equal configs have equal text.

    What protocol A was before there was another is written as it was then, and so are chains that
    are not by item or of one source.
    """
    tree = asdict(config, dict_factory=_as_before) if is_dataclass(config) else config
    return json.dumps(tree, sort_keys=True)


def _as_before(fields: list[tuple[str, object]]) -> dict[str, object]:
    later = (("protocol", "A"), ("items", ChainsConfig.items), ("after_reasoner", False))
    return {name: value for name, value in fields if (name, value) not in later}


def from_json(text: str, kind: type[Config]) -> Config:
    """The inverse of `to_json`; fields of earlier versions are read under their old names.

    >>> from_json('{"name": "beauty", "max_users": 100}', DataConfig)
    DataConfig(name='beauty', max_users=100, simulated=None, protocol='A')
    """
    try:
        return _reader(kind).validate_json(_with_new_names(text, kind))
    except ValidationError as error:
        place = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise ConfigError(refusal(f"{kind.__name__}: {place}", error)) from None


@cache
def _reader(kind: type[Config]) -> "TypeAdapter[Config]":
    """Pydantic's reader of a config class, which takes longer to make than to use."""
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


_RENAMED = {"kind": "module", "chains": "source", "reads": "placement"}


def renamed(method: Mapping[str, object]) -> dict[str, object]:
    """A method's config as JSON, with today's names: older ones call some fields otherwise.

    >>> renamed({"fusion": {"kind": "bag", "chains": "own", "gate": True}})
    {'fusion': {'module': 'bag', 'source': 'own', 'gate': True}}
    >>> renamed({"fusion": {"kind": "scores"}})
    {'fusion': None, 'mixed_scores': True}
    """
    fusion = method.get("fusion")
    if not isinstance(fusion, dict):
        return dict(method)
    if "scores" in (fusion.get("kind"), fusion.get("module")):
        return {**method, "fusion": None, "mixed_scores": True}
    return {**method, "fusion": _renamed_fusion(fusion)}


def _renamed_fusion(fusion: Mapping[str, object]) -> dict[str, object]:
    return {_RENAMED.get(name, name): value for name, value in fusion.items()}


def _renamed_below(tree: object) -> object:
    if not isinstance(tree, dict):
        return tree
    tree = {name: _renamed_below(value) for name, value in tree.items()}
    return renamed(tree) if "fusion" in tree else tree


def _with_new_names(text: str, kind: type) -> str:
    try:
        tree = json.loads(text)
        whole = isinstance(tree, dict) and kind is FusionConfig
        return json.dumps(_renamed_fusion(tree) if whole else _renamed_below(tree))
    except (ValueError, RecursionError):
        return text  # whose fault the reader names


def with_overrides(config: Config, assignments: Sequence[str], flag: str = "--set") -> Config:
    """A copy with each `a.b.c=value` applied, in order.

    Values are JSON, or text where they are not. `*` names every key. `methods.NAME={"model": ...}`
    adds a method.

    >>> with_overrides(DataConfig(), ["max_users=100"]).max_users
    100
    """
    for assignment in assignments:
        path, equals, value = assignment.partition("=")
        if not equals:
            raise ConfigError(f"{flag} {assignment!r} has no '='; write it as a.b=value")
        try:
            parsed: object = json.loads(value)
        except (ValueError, RecursionError):
            parsed = value
        tree: dict[str, object] = json.loads(json.dumps(asdict(config)))  # keeps methods in order
        methods, name = tree.get("methods"), path.removeprefix("methods.")
        whole = isinstance(parsed, dict) and "model" in parsed
        if whole and isinstance(methods, dict) and name not in (path, "*"):
            methods[name] = parsed
        else:
            _assign(tree, path, parsed, f"{flag} {assignment!r}")
        config = from_json(json.dumps(tree), type(config))
    return config


def _assign(tree: object, path: str, value: object, assignment: str) -> None:
    """Put `value` where `path` leads; a method's name in it may hold dots."""
    known = list(tree) if isinstance(tree, dict) else []
    fitting = [name for name in known if f"{path}.".startswith(f"{name}.")]
    head = max(fitting, key=len, default=path.partition(".")[0])
    rest = path[len(head) + 1 :]
    head = head if head in known else _RENAMED.get(head, head)
    if not isinstance(tree, dict) or (head not in known and head != "*"):
        known.sort()
        remedy = f"choose from: {', '.join(known) or 'nothing below it'}{closest(head, known)}"
        raise ConfigError(f"{assignment}: there is no {head!r} there; {remedy}")
    for name in known if head == "*" else [head]:
        if rest:
            _assign(tree[name], rest, value, assignment)
        else:
            tree[name] = value
