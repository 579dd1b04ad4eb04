"""Stages from semantic IDs and chains to trained models and their rankings."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from scoter.config import FusionConfig, MethodConfig, to_json
from scoter.errors import ConfigError
from scoter.seeding import derive_seed
from scoter.stages.context import PARTS, Context, load_arrays, save_arrays
from scoter.stages.data import check_trainable, codes_of, open_data, open_semantic_ids, text_fields
from scoter.stages.reasoning import open_steps
from scoter.stages.sentences import sentence_encoder
from scoter.storage import sentence_vectors as text
from scoter.storage.store import Artefact
from scoter.types import Catalog, Rankings, ReasoningPattern, SemanticIds, Split, StepEmbeddings


def build_model(
    method: MethodConfig,
    split: Split,
    catalog: Catalog,
    ids: SemanticIds | None,
    steps: StepEmbeddings | None,
    seed: int,
    device: str = "cpu",
) -> Any:
    """An untrained model with its fusion, if it has one.

    Initial weights depend on `seed` alone, wherever they are. `ids` is needed by TIGER alone.
    """
    from scoter.models.backbones.popularity import Popularity
    from scoter.models.training.precision import resolve_device

    if method.model.kind == "popularity":
        return Popularity(split.train, catalog.item_count)
    chains = None if method.fusion is None or steps is None else (steps.pattern, steps.dim)
    model = build_network(method, catalog.item_count, ids, chains, seed, device)
    if chains is not None and steps is not None:
        model.fusion.set_statistics(*training_steps(split, steps))
    return model.to(resolve_device(device))


def build_network(
    method: MethodConfig,
    item_count: int,
    ids: SemanticIds | None,
    chains: tuple[ReasoningPattern, int] | None,
    seed: int,
    device: str = "cpu",
) -> Any:
    """The same without data and still on the CPU: a neural method, with a fusion for `chains` of
    that pattern and width of a step's embedding. `device` decides its precision.

    `ids` is needed by TIGER alone. A fusion's statistics are those of training data, which whoever
    calls this sets or loads.
    """
    import torch

    from scoter.models.backbones.gru4rec import GRU4Rec
    from scoter.models.backbones.sasrec import SASRec
    from scoter.models.backbones.tiger import Tiger
    from scoter.models.training.precision import resolve_device, resolve_precision
    from scoter.transfer.alignment import Alignment
    from scoter.transfer.build import build_fusion

    model, fusion = method.model, method.fusion
    assert model.kind != "popularity"
    precision = resolve_precision(method.training.precision, resolve_device(device))
    torch.manual_seed(derive_seed(seed, "weights"))
    if model.kind == "tiger":
        if ids is None:
            raise ConfigError("ids is None, but TIGER generates semantic IDs; pass them")
        backbone = Tiger(model, ids, precision=precision)
    elif model.kind == "gru4rec":
        backbone = GRU4Rec(model, item_count, precision=precision)
    else:
        backbone = SASRec(model, item_count, precision=precision)
    if fusion is not None and fusion.votes and model.kind == "sasrec" and model.loss == "bce":
        raise ConfigError(
            "fusion.votes = True mixes probabilities, and model.loss = 'bce' has none; set "
            "model.loss=ce"
        )
    if fusion is not None and chains is not None:
        backbone.fusion = build_fusion(
            fusion, *chains, model.dim, model.layers if model.kind == "tiger" else 1
        )
        if fusion.alignment:
            backbone.alignment = Alignment(model.dim, fusion.alignment, fusion.temperature)
    return backbone


def method_recipe(method: MethodConfig, device: str) -> dict[str, Any]:
    """What of a method and of this machine decides its numbers, for the key of a stage.

    `auto` is left out, and what it comes to here is named: an artefact in fp32 never stands for one
    in bf16, nor a GPU's for a processor's. Library versions and the numbers of threads and of
    processes are not in the key; a run records the versions, and training its processes.
    """
    config = json.loads(to_json(method))
    del config["training"]["precision"]
    return {"method": config, **computation(method, device)}


def computation(method: MethodConfig, device: str) -> dict[str, str]:
    """The kind of device and the precision of a method's computations; popularity has neither.

    Raises:
        ConfigError: `device` is unknown, or there is none here.
    """
    from scoter.models.training.precision import resolve_device, resolve_precision

    if method.model.kind == "popularity":
        return {}
    where = resolve_device(device)
    precision = resolve_precision(method.training.precision, where)
    return {"device": where.type, "precision": precision}


def training_steps(split: Split, steps: StepEmbeddings, most: int = 8192) -> tuple[Any, Any]:
    """Step embeddings and mask of at most `most` evenly spaced training prefixes: those that a
    training item follows."""
    import torch

    from scoter.models.training.batches import StepReader

    lengths = np.maximum(split.train.lengths - 1, 0)
    ends = np.cumsum(lengths)
    chosen = np.linspace(0, ends[-1] - 1, min(most, int(ends[-1]))).astype(np.int64)
    users = np.searchsorted(ends, chosen, side="right")
    prefix_lengths = chosen - (ends - lengths)[users] + 1
    return StepReader(steps).read(torch.from_numpy(users), torch.from_numpy(prefix_lengths))


def step_reader(
    fusion: FusionConfig | None,
    steps: Artefact | None,
    context: Context | None = None,
    data: Artefact | None = None,
    ids: Artefact | None = None,
) -> tuple[StepEmbeddings | None, Any]:
    """The chains a method gets: its users' own, or for a control another user's, or what stands in
    for them.

    `context` and `data` are needed where items' texts stand in.
    """
    if fusion is None or steps is None or fusion.kind == "scores":
        return None, None
    from scoter.models.training.batches import StepReader
    from scoter.models.training.precision import resolve_device
    from scoter.transfer.collapse import other_users_chains
    from scoter.transfer.grounded import one_step_per_sentence
    from scoter.transfer.substitutes import statements_as_features

    table = open_steps(steps)
    if fusion.grounded:
        table = grounded_steps(steps, table, data, ids)
    if fusion.chains == "other-user":
        table = other_users_chains(table, derive_seed(0, "other-user"))
    elif fusion.chains == "features":
        table = statements_as_features(table, derive_seed(0, "features"))
    elif fusion.chains == "item-text":
        table = item_text_steps(table, context, data)
    if fusion.slots == "sentence":
        table = one_step_per_sentence(table)
    return table, StepReader(
        table, resolve_device(context.device) if context is not None else "cpu"
    )


def item_text_steps(
    table: StepEmbeddings, context: Context | None, data: Artefact | None
) -> StepEmbeddings:
    """The texts of each prefix's last items, by the encoder of the chains, in the place of the
    chains."""
    from scoter.reasoning.catalogue.view import look
    from scoter.transfer.substitutes import item_texts_as_steps

    if context is None or data is None:
        raise ConfigError(
            "fusion.chains = 'item-text' needs the items' texts; pass context and data to "
            "step_reader"
        )
    _, catalog, split = open_data(data)
    users = np.repeat(np.arange(len(table.starts) - 1), np.diff(table.starts))
    view = look(split, users, np.arange(len(users)) - table.starts[users] + 1, table.step_count)
    return item_texts_as_steps(
        table, view.recent, sentence_encoder(context)(_item_texts(context, catalog))
    )


def grounded_steps(
    steps: Artefact, table: StepEmbeddings, data: Artefact | None, ids: Artefact | None
) -> StepEmbeddings:
    """The chains with the codes of the items that their sentences name."""
    from scoter.reasoning.chains.table import item_names, load_chains
    from scoter.transfer.grounded import ground_steps

    if data is None or ids is None:
        raise ConfigError(
            "fusion.grounded = True needs items and their semantic IDs; pass data and ids to "
            "step_reader"
        )
    names = item_names(open_data(data)[1])
    return ground_steps(
        table,
        load_chains(steps.folder()).sentences,
        names,
        open_semantic_ids(ids),
        derive_seed(0, "codes"),
    )


def total_loss(model: Any, batch: Any, reader: Any, label_smoothing: float) -> Any:
    """The recommender's loss, plus InfoNCE between its chains and its targets where the model has
    an `alignment`."""
    import torch

    loss = model.loss(batch, reader, label_smoothing)
    alignment = getattr(model, "alignment", None)
    if alignment is None:
        return loss
    row, column = batch.is_target.nonzero(as_tuple=True)
    items = batch.items[row, column + 1]
    before = torch.arange(batch.items.shape[1]) <= column[:, None]
    histories = torch.where(before, batch.items[row], -1)
    steps, mask = reader.read(batch.users[row], batch.prefix_lengths[row, column])
    return loss + alignment(
        model.fusion, steps, mask, _output_vectors(model, items), items, histories
    )


def needs_semantic_ids(method: MethodConfig) -> bool:
    """Whether a method generates semantic IDs, or reads those of the items that its chains name."""
    return method.model.kind == "tiger" or (method.fusion is not None and method.fusion.grounded)


def train(
    context: Context,
    name: str,
    method: MethodConfig,
    data: Artefact,
    ids: Artefact | None,
    steps: Artefact | None,
) -> Artefact:
    """Weights of the best validation epoch, and the learning curve. Mixed scores train nothing but
    the recommender."""
    if method.fusion is not None and method.fusion.kind == "scores":
        name, method = method.model.kind, replace(method, fusion=None)

    def build(out: Path, scratch: Path) -> None:
        from scoter.evaluation.evaluator import Evaluator
        from scoter.evaluation.metrics import mean_metrics
        from scoter.models.training import loop as training
        from scoter.models.training.batches import cut_windows, training_batches

        _, catalog, split = open_data(data)
        if method.model.kind == "popularity":
            (out / "training.json").write_text(
                json.dumps(
                    {"epochs": 0, "best_epoch": 0, "curve": [], "parameters": 0, "cpu_seconds": 0.0}
                )
            )
            return
        check_trainable(split)
        table, reader = step_reader(method.fusion, steps, context, data, ids)
        model = build_model(
            method, split, catalog, codes_of(ids), table, context.seed, context.device
        )
        windows = cut_windows(split.train, method.model.max_items)
        histories, targets, config = (
            split.histories("valid"),
            split.targets("valid"),
            method.training,
        )

        def batches(epoch: int) -> list[Any]:
            return training_batches(
                split.train,
                windows,
                config.batch_targets,
                derive_seed(context.seed, "batches", epoch),
            )

        def evaluate() -> dict[str, float]:
            rankings = model.recommend(histories, context.experiment.depth, reader)
            return mean_metrics(Evaluator().evaluate(rankings, targets))

        def loss(batch: Any) -> Any:
            return total_loss(model, batch, reader, config.label_smoothing)

        log = training.fit(
            model,
            batches,
            loss,
            evaluate,
            config,
            seed=context.seed,
            scratch=scratch,
            label=name,
            workers=context.workers,
        )
        training.save_weights(model, out / "weights.safetensors")
        parameters = sum(parameter.numel() for parameter in model.parameters())
        (out / "training.json").write_text(json.dumps({**vars(log), "parameters": parameters}))

    inputs: list[Artefact | str] = [data]
    inputs += [ids] if ids is not None and needs_semantic_ids(method) else []
    inputs += [steps] if method.fusion is not None and steps is not None else []
    if method.fusion is not None and method.fusion.chains == "item-text":
        inputs += [
            text.provenance_key(context.experiment.text),
            ",".join(context.experiment.text.fields),
        ]
    recipe = {
        **method_recipe(method, context.device),
        "name": name,  # which the seed of dropout is derived from
        "seed": context.seed,
        "depth": context.experiment.depth,
    }
    return context.stage("train", recipe, inputs, build)


def rank(
    context: Context,
    method: MethodConfig,
    trained: Artefact,
    data: Artefact,
    ids: Artefact | None,
    steps: Artefact | None,
) -> Artefact:
    """The best items for every validation and test user, with gate and attention per user where
    there is a fusion."""
    if method.fusion is not None and method.fusion.kind == "scores":
        from scoter.stages.mixed_scores import rank_mixed

        return rank_mixed(context, method, trained, data, ids)

    def build(out: Path, scratch: Path) -> None:
        _, catalog, split = open_data(data)
        table, reader = step_reader(method.fusion, steps, context, data, ids)
        model = build_model(
            method, split, catalog, codes_of(ids), table, context.seed, context.device
        )
        if method.model.kind != "popularity":
            from scoter.models.training.loop import load_weights

            load_weights(model, trained.file("weights.safetensors"))
        for part in PARTS:
            histories = split.histories(part)
            if method.fusion is None:
                rankings = model.recommend(histories, context.experiment.depth)
            else:
                rankings, readings = _rank_with_readings(
                    model, histories, context.experiment.depth, reader
                )
                save_arrays(out / f"readings-{part}.safetensors", **readings)
            save_rankings(rankings, out, part)

    inputs: list[Artefact | str] = [
        trained,
        data,
        *([steps] if steps is not None and method.fusion is not None else []),
    ]
    recipe = {"depth": context.experiment.depth, **computation(method, context.device)}
    return context.stage("rank", recipe, inputs, build)


def save_rankings(rankings: Rankings, folder: Path, part: str) -> None:
    save_arrays(
        folder / f"rankings-{part}.safetensors",
        users=rankings.users.astype(np.int32),
        items=rankings.items.astype(np.int32),
        scores=rankings.scores.astype(np.float32),
    )


def open_rankings(artefact: Artefact, part: str) -> Rankings:
    arrays = load_arrays(artefact.file(f"rankings-{part}.safetensors"))
    return Rankings(arrays["users"], arrays["items"], arrays["scores"])


def _rank_with_readings(
    model: Any, histories: Any, depth: int, reader: Any
) -> tuple[Rankings, dict[str, np.ndarray]]:
    slots = model.fusion.slot_count + 1
    gate, attention = (
        np.zeros(len(histories), np.float32),
        np.zeros((len(histories), slots), np.float32),
    )

    def note(rows: np.ndarray) -> None:
        gates, weights = model.fusion.take_readings()
        gate[rows], attention[rows] = gates.cpu().numpy(), weights.cpu().numpy()

    model.fusion.start_recording()
    return model.recommend(histories, depth, reader, note), {"gate": gate, "attention": attention}


def _output_vectors(model: Any, items: Any) -> Any:
    """The vectors that scores are products with; TIGER's is the mean of the embeddings of an item's
    codes."""
    if hasattr(model, "item_tokens"):
        return model.embedding(model.item_tokens[items]).mean(dim=1)
    return model.items(items)


def _item_texts(context: Context, catalog: Catalog) -> list[str]:
    return text.item_texts(catalog, text_fields(catalog, context.experiment.text.fields))
