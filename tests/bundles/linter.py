"""Finds in a bundle's JSON what MONAI lets through until it runs, or for ever."""

from __future__ import annotations

import ast
import builtins
import inspect
import json
import pydoc
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from monai.bundle.config_item import ComponentLocator, ConfigComponent
from monai.bundle.properties import InferProperties, TrainProperties
from monai.bundle.reference_resolver import ReferenceResolver

MOST_EXPRESSION_CHARACTERS = 60
#: What an expression may name without an import: the globals of MONAI's configurations.
EXPRESSION_NAMES = {"monai", "torch", "np", "numpy", *dir(builtins)}
#: Settings that MONAI reads itself.
READ_BY_MONAI = {"imports", "initialize", "run", "finalize", "output_dir"} | {
    settings["id"].split("::")[0] for settings in [*TrainProperties.values(), *InferProperties.values()]
}
_LOCATOR = ComponentLocator()


def lint(document: Path) -> list[str]:
    """Everything wrong with a whole document."""
    config = json.loads(document.read_text(encoding="utf-8"))
    return [*faults(config), *unread_settings(config)]


def lint_overlay(overlay: Path, base: Path) -> list[str]:
    """Everything wrong with an overlay, and with what it makes of its base document."""
    merged, changes = (json.loads(path.read_text(encoding="utf-8")) for path in (base, overlay))
    unknown = [f"{key}: no such setting in {base.name}" for key in changes if not exists(merged, switched(key))]
    return unknown or [*unknown, *faults(overlaid(merged, changes))]


def switched(key: str) -> str:
    """What an overlay's key changes: without MONAI's "+", and the component where it is one of MONAI's own switches."""
    *path, last = parts(key.removeprefix("+"))
    return "::".join(path if last in ConfigComponent.non_arg_keys else [*path, last])


def overlaid(config: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The document after an overlay whose every id it has."""
    for key, value in changes.items():
        *path, last = parts(key.removeprefix("+"))
        parent = descend(config, path)
        place = int(last) if isinstance(parent, list) else last
        if not key.startswith("+"):
            parent[place] = value
        else:
            parent[place] = parent[place] + value if isinstance(value, list) else {**parent[place], **value}
    return config


def faults(config: dict[str, Any]) -> list[str]:
    """What is wrong with each component, reference and expression."""
    imported = {str(line).split()[-1] for line in config.get("imports", [])}
    found = []
    for name, value in walk(config):
        if isinstance(value, Mapping) and "_target_" in value:
            found += [f"{name}: {fault}" for fault in component_faults(value)]
        elif isinstance(value, str):
            found += [f"{name}: {fault}" for fault in text_faults(value, config, imported)]
    return found


def unread_settings(config: Mapping[str, Any]) -> Iterator[str]:
    """Settings at the top that neither MONAI nor any reference reads."""
    read = {parts(one)[0] for _, value in walk(config) if isinstance(value, str) for one in references(value)}
    yield from (f"{key}: nothing reads this setting" for key in config if key not in read | READ_BY_MONAI)


def component_faults(component: Mapping[str, Any]) -> Iterator[str]:
    """A target that is not there, and arguments that it does not take or lacks."""
    name = component["_target_"]
    module = _LOCATOR.get_component_module_name(name)
    target: Any = pydoc.locate(f"{module}.{name}" if isinstance(module, str) else name)
    if target is None:
        yield f"no {name} to import"
        return
    given = {key for key in component if key not in ConfigComponent.non_arg_keys}
    try:
        signature = inspect.signature(target)
    except ValueError:  # classes of C say nothing about their arguments
        return
    taken = parameters(target, signature)
    yield from (f"{name} takes no {key}" for key in sorted(given - taken))
    named = (one for one in signature.parameters.values() if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY))
    missing = {one.name for one in named if one.default is one.empty}
    yield from (f"{name} needs {key}" for key in sorted(missing - given))


def parameters(target: Any, signature: inspect.Signature) -> set[str]:
    """Names that may be given; where a class hands ``**kwargs`` on, those of its bases as well."""
    names = {p.name for p in signature.parameters.values() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
    if any(p.kind == p.VAR_KEYWORD for p in signature.parameters.values()) and inspect.isclass(target):
        for base in target.__mro__[1:-1]:
            names |= set(inspect.signature(vars(base).get("__init__", object)).parameters)
    return names


def text_faults(text: str, config: Mapping[str, Any], imported: set[str]) -> Iterator[str]:
    """References to nothing, macros of other files, expressions that are too long, broken, or hold a lambda."""
    yield from (f"@{one} does not exist" for one in sorted(references(text)) if not exists(config, one))
    if text.startswith("%") and any(ending in text for ending in (".json", ".yaml", ".yml")):
        yield f"{text} is looked for in the current directory; use a component"
    if not text.startswith("$") or text.startswith(("$import ", "$from ")):
        return
    if len(text) > MOST_EXPRESSION_CHARACTERS:
        yield f"an expression of {len(text)} characters: {text}; write a component"
    plain = text[1:]
    for one in sorted(references(text), key=len, reverse=True):
        plain = plain.replace(f"@{one}", "None")
    try:
        tree = ast.parse(plain, mode="eval")
    except SyntaxError:
        yield f"no expression: {text}"
        return
    if any(isinstance(node, ast.Lambda) for node in ast.walk(tree)):
        yield f"a lambda: {text}; write a component"
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    bound = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    yield from (f"{name} is not imported: {text}" for name in sorted(used - bound - imported - EXPRESSION_NAMES))


def references(text: str) -> set[str]:
    """Ids that a string refers to."""
    return set(ReferenceResolver.match_refs_pattern(text)) if text.startswith(("@", "$")) else set()


def walk(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of a document with its id, outermost first."""
    yield name, value
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from walk(inner, f"{name}::{key}" if name else str(key))


def parts(name: str) -> list[str]:
    return ReferenceResolver.normalize_id(name).split("::")


def descend(config: Any, path: list[str]) -> Any:
    for part in path:
        config = config[int(part)] if isinstance(config, list) else config[part]
    return config


def exists(config: Any, name: str) -> bool:
    """Whether a document has the id."""
    try:
        descend(config, parts(name))
    except (KeyError, IndexError, ValueError, TypeError):
        return False
    return True
