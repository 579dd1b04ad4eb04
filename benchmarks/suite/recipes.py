"""What a cell's numbers depend on, today and in a collected row, and where the two differ."""

import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from benchmarks.suite.cells import Cell, experiment_of
from scoter.config import (
    REASONS,
    ChainsConfig,
    DiscoverConfig,
    MethodConfig,
    SemanticIdConfig,
    from_json,
    renamed,
    to_json,
)
from scoter.errors import ConfigError
from scoter.storage.store import hash_file

_KINDS = {"method": MethodConfig, "semantic_ids": SemanticIdConfig, "discover": DiscoverConfig}

Config = Mapping[str, Any]  # JSON
_HOW_READ = ("items", "after_reasoner")  # of stored chains
TODAY = {"reasons": REASONS, "certainty": True}  # what the code decides, as rows keep it


def recipe_of(cell: Cell) -> dict[str, Any]:
    """The method, semantic IDs and origin of chains of a cell; its data and seed are not here."""
    if cell.own:
        return own_config(cell.own)
    config = json.loads(to_json(experiment_of(cell)))
    method = config["methods"][cell.method]
    parts = {"method": method}
    parts |= {"semantic_ids": config["semantic_ids"]} if method["model"]["kind"] == "tiger" else {}
    return parts | origin_of_chains(config | TODAY, method)


def own_config(own: str) -> dict[str, Any]:
    """The configuration of a user's method: the class, and a hash of the file that defines it."""
    module, colon, name = own.partition(":")
    option = f"--method-class {own!r}"
    if not (module and colon and name.isidentifier()):
        raise ConfigError(f"{option} does not name a class; write it as package.module:ClassName")
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        spec = None
    if spec is None or spec.origin is None:
        remedy = "run from its folder, or add it to PYTHONPATH"
        raise ConfigError(f"{option}: there is no module {module!r}; {remedy}")
    model = {"kind": "own", "class": own, "source": hash_file(Path(spec.origin))}
    return {"model": model, "training": {}, "fusion": None}


def reads_chains(method: Config) -> bool:
    """Whether a method's config has it read chains."""
    return renamed(method).get("fusion") is not None


def mixes_scores(method: Config) -> bool:
    """Whether a method mixes the scores of a recommender that another method trains."""
    return bool(renamed(method).get("mixed_scores"))


def origin_of_chains(config: Config, method: Config) -> dict[str, Any]:
    """What decides a method's chains: the table where they are stored, the pattern if one is given,
    else how it is mined, whether the mined one or a rival of it is followed, which version of the
    reasons ranks, and whether steps state how sure they are.

    A logit of reasons, and what is mixed with counts, have a version of the reasons too.
    """
    version = {"reasons": config.get("reasons", 1)}
    if mixes_scores(method) or method.get("model", {}).get("kind") == "reasons":
        return version
    if not reads_chains(method):
        return {}
    stored = stored_table(config.get("chains") or {})
    if stored and not stored["after_reasoner"]:
        return {"chains": stored}
    if config.get("pattern"):
        return {"pattern": config["pattern"]}
    if not config.get("discover"):
        return {}
    followed = config.get("pattern_from", "mined")
    stated = {"certainty": config.get("certainty", False), **({"chains": stored} if stored else {})}
    return {"discover": config["discover"], "pattern_from": followed, **version, **stated}


def stored_table(chains: Config) -> dict[str, Any]:
    """The content of a table of stored chains, and how it is read; empty without a table."""
    source = Path(chains.get("source") or "")
    content = chains.get("table") or (hash_file(source) if source.is_file() else "")
    if not content:
        return {}
    read = {name: chains.get(name, getattr(ChainsConfig, name)) for name in _HOW_READ}
    return {"table": content, **read}


def stored_recipe(config: Config) -> dict[str, Any]:
    """The recipe of a collected row; later options have the values that leave its numbers alone."""
    model = config.get("model", {})
    if model.get("kind") == "own":
        return dict(config)
    config = cast(dict[str, Any], renamed(config))
    parts = {"method": {name: config.get(name) for name in ("model", "training", "fusion")}}
    parts["method"]["mixed_scores"] = mixes_scores(config)
    parts["method"]["mixed_with"] = config.get("mixed_with", MethodConfig.mixed_with)
    model = config.get("model", {})
    if reads_chains(config) and model.get("kind") == "tiger" and model.get("layers", 1) > 1:
        # "every-layer" is all there was before there was a choice
        parts["method"]["fusion"] = {"placement": "every-layer", **config["fusion"]}
    parts |= {"semantic_ids": config["semantic_ids"]} if config.get("semantic_ids") else {}
    parts |= origin_of_chains(config, config)
    try:
        return {
            name: json.loads(to_json(from_json(json.dumps(part), _KINDS[name])))
            if name in _KINDS
            else part
            for name, part in parts.items()
        }
    except ConfigError:  # an option that is gone: whatever it meant, it is not today's recipe
        return parts


def differences(wanted: Config, stored: Config, place: str = "") -> list[str]:
    """One line per value that is not what is wanted.

    >>> differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}})
    ['a.c was 3, now 2']
    """
    lines = []
    for name in sorted({*wanted, *stored}):
        now, was = wanted.get(name), stored.get(name)
        if isinstance(now, Mapping) and isinstance(was, Mapping):
            lines += differences(now, was, f"{place}{name}.")
        elif now != was:
            lines.append(f"{place}{name} was {_brief(was)}, now {_brief(now)}")
    return lines


def equal_budget(rows: Sequence[Config], left: str, right: str) -> bool:
    """Whether two methods may be compared.

    They may if their kinds of model differ, or if everything but their use of chains is equal. Two
    that both read the reasoner's chains must share the pattern, or the way of mining it, of which
    one may follow a rival.
    """
    first, second = (_configs(rows, name) for name in (left, right))
    kinds = [{config.get("model", {}).get("kind") for config in side} for side in (first, second)]
    if kinds[0] != kinds[1]:
        return True
    configs = [*first, *second]
    same_chains = all(reads_chains(config) and not config.get("chains") for config in configs)
    budgets = [_without_use_of_chains(config, same_chains) for config in configs]
    return all(budget == budgets[0] for budget in budgets)


def one_recipe(rows: Sequence[Config], method: str) -> bool:
    """Whether all seeds of a method were trained alike."""
    recipes = [stored_recipe(config) for config in _configs(rows, method)]
    return all(recipe == recipes[0] for recipe in recipes)


def _brief(value: object) -> object:
    if value is None:
        return "not kept"
    return "another" if isinstance(value, Mapping | list) else value


def _without_use_of_chains(config: Config, with_origin: bool) -> dict[str, Any]:
    unmixed = {"mixed_scores": False, "mixed_with": MethodConfig.mixed_with}
    parts = stored_recipe({**config, "fusion": None, **unmixed})
    origin = origin_of_chains(config, config) if with_origin else {}
    return parts | {name: part for name, part in origin.items() if name != "pattern_from"}


def _configs(rows: Sequence[Config], method: str) -> list[dict[str, Any]]:
    texts = {row["config"] for row in rows if row["method"] == method}
    return [json.loads(text) for text in sorted(texts)]
