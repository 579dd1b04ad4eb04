"""What a cell's numbers depend on, as the code has it today and as a collected row has it, and
where the two differ."""

import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.suite.cells import Cell, experiment_of
from scoter.config import (
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


def recipe_of(cell: Cell) -> dict[str, Any]:
    """What a cell's numbers depend on besides data and seed: method, semantic IDs, and where chains
    come from if it reads any."""
    if cell.own:
        return own_config(cell.own)
    config = json.loads(to_json(experiment_of(cell)))
    method = config["methods"][cell.method]
    parts = {"method": method}
    parts |= {"semantic_ids": config["semantic_ids"]} if method["model"]["kind"] == "tiger" else {}
    return parts | (origin_of_chains(config) if reads_chains(method) else {})


def own_config(own: str) -> dict[str, Any]:
    """The configuration of a user's method: the class, and the content of the file that defines it.

    Raises:
        ConfigError: not written `package.module:Class`, or no such module.
    """
    module, colon, name = own.partition(":")
    if not (module and colon and name.isidentifier()):
        raise ConfigError(
            f"--method-class {own!r} does not name a class; write it as package.module:ClassName"
        )
    try:
        found = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        found = None
    if found is None or found.origin is None:
        raise ConfigError(
            f"--method-class {own!r}: there is no module {module!r}; run from its folder, or add "
            f"it to PYTHONPATH"
        )
    return {
        "model": {"kind": "own", "class": own, "source": hash_file(Path(found.origin))},
        "training": {},
        "fusion": None,
    }


def reads_chains(method: Mapping[str, Any]) -> bool:
    """Whether a method's config has it read chains."""
    return renamed(method).get("fusion") is not None


def mixes_scores(method: Mapping[str, Any]) -> bool:
    """Whether a method mixes the scores of a recommender that another method trains."""
    return bool(renamed(method).get("mixed_scores"))


def origin_of_chains(config: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the chains of an experiment: the pattern where one is given, else how it is
    mined."""
    return {
        name: config[name]
        for name in ("pattern" if config.get("pattern") else "discover",)
        if config.get(name)
    }


def stored_recipe(config: Mapping[str, Any]) -> dict[str, Any]:
    """The same of a collected row. Options that came later have the values that leave every number
    as it was."""
    if config.get("model", {}).get("kind") == "own":
        return dict(config)
    config = renamed(config)
    parts = {"method": {name: config.get(name) for name in ("model", "training", "fusion")}}
    parts["method"]["mixed_scores"] = mixes_scores(config)
    model = config.get("model", {})
    if reads_chains(config) and model.get("kind") == "tiger" and model.get("layers", 1) > 1:
        # "every-layer" is all there was before there was a choice
        parts["method"]["fusion"] = {"placement": "every-layer", **config["fusion"]}
    parts |= {"semantic_ids": config["semantic_ids"]} if config.get("semantic_ids") else {}
    parts |= origin_of_chains(config) if reads_chains(config) else {}
    try:
        known = {
            name: from_json(json.dumps(part), _KINDS[name])
            for name, part in parts.items()
            if name in _KINDS
        }
        return {**parts, **{name: json.loads(to_json(value)) for name, value in known.items()}}
    except ConfigError:  # an option that is gone: whatever it meant, it is not today's recipe
        return parts


def differences(wanted: Mapping[str, Any], found: Mapping[str, Any], place: str = "") -> list[str]:
    """One line per value that is not what is wanted: `method.training.epochs 20, now 30`.

    Example:
        >>> differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}})
        ['a.c was 3, now 2']
    """
    lines = []
    for name in sorted({*wanted, *found}):
        now, was = wanted.get(name), found.get(name)
        if isinstance(now, Mapping) and isinstance(was, Mapping):
            lines += differences(now, was, f"{place}{name}.")
        elif now != was:
            lines.append(f"{place}{name} was {_brief(was)}, now {_brief(now)}")
    return lines


def equal_budget(rows: Sequence[Mapping[str, Any]], one: str, other: str) -> bool:
    """Whether two methods may be compared: of different kinds always, of one kind if all but how
    they use chains is equal.

    Two that both read the reasoner's chains must read those of one pattern, or of one way of mining
    it.
    """
    configs = {name: [json.loads(text) for text in _configs(rows, name)] for name in (one, other)}
    kinds = {
        name: {config.get("model", {}).get("kind") for config in found}
        for name, found in configs.items()
    }
    if kinds[one] != kinds[other]:
        return True
    told = [config for found in configs.values() for config in found]
    same_chains = all(reads_chains(config) and not config.get("chains") for config in told)
    budgets = [_without_use_of_chains(config, same_chains) for config in told]
    return all(budget == budgets[0] for budget in budgets)


def one_recipe(rows: Sequence[Mapping[str, Any]], method: str) -> bool:
    """Whether all seeds of a method were trained alike."""
    recipes = [stored_recipe(json.loads(text)) for text in _configs(rows, method)]
    return all(recipe == recipes[0] for recipe in recipes)


def _brief(value: Any) -> Any:
    return (
        "not kept" if value is None else "another" if isinstance(value, Mapping | list) else value
    )


def _without_use_of_chains(config: Mapping[str, Any], with_origin: bool) -> dict[str, Any]:
    parts = stored_recipe({**config, "fusion": None, "mixed_scores": False})
    return parts | (origin_of_chains(config) if with_origin else {})


def _configs(rows: Sequence[Mapping[str, Any]], method: str) -> list[str]:
    return sorted({row["config"] for row in rows if row["method"] == method})
