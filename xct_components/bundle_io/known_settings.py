"""A guard against misspelt settings: MONAI takes any name that is given on the command line, and nothing then reads it."""

from __future__ import annotations

import difflib
import inspect
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from xct_components.failures import UsageFailure

#: Keys to which MONAI itself gives a meaning; the second row is added by ``--tracking mlflow``.
MONAI_KEYS = {
    *("_meta_", "_target_", "_requires_", "_disabled_", "_desc_", "_mode_", "imports"),
    *("is_not_rank0", "tracking_uri", "experiment_name", "run_name", "save_execute_config"),
}


def require_known_settings(bundle_root: str | Path, document: str) -> None:
    """Refuse a run that was given a setting which its document does not have.

    A bundle's JSON calls this in ``initialize``. MONAI hands a component its arguments and nothing else, so the configuration
    of the run, overrides included, is found on the call stack.

    Args:
        bundle_root: of the running bundle.
        document: in its ``configs``; a whole one, not an overlay.

    Raises:
        UsageFailure: naming every unknown setting, and the known one it resembles; or every "true" and "false", which MONAI's
            command line hands on as texts, and any text counts as true.
    """
    known = json.loads((Path(bundle_root) / "configs" / document).read_text(encoding="utf-8"))
    running = _running_config()
    spelled = list(texts_for_truth(running))
    if spelled:
        raise UsageFailure(f"True and False are written with a capital letter; else MONAI takes a text: {', '.join(spelled)}")
    unknown = [_with_advice(name, known) for name in unknown_settings(running, known)]
    if unknown:
        raise UsageFailure(f"{document} has no such setting: {'; '.join(unknown)}")


def unknown_settings(running: Mapping[str, Any], known: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Ids of ``running``, as in "train::batch_sise", that ``known`` does not have.

    Whole sections and components that are new are no misspelling: a user's overlay may bring them. The arguments of a
    component are not looked at: what is misspelt there fails when the component is made.
    """
    for key, value in running.items():
        if key not in known:
            if not isinstance(value, Mapping) and key not in MONAI_KEYS:
                yield f"{above}{key}"
        elif _is_section(value) and _is_section(known[key]):
            yield from unknown_settings(value, known[key], f"{above}{key}::")


def texts_for_truth(running: Any, above: str = "") -> Iterator[str]:
    """Ids of everything that is the text "true" or "false", in whatever case."""
    if isinstance(running, str):
        if running.lower() in ("true", "false"):
            yield above
    elif isinstance(running, Mapping):
        for key, value in running.items():
            yield from texts_for_truth(value, f"{above}::{key}" if above else str(key))
    elif isinstance(running, list):
        for number, value in enumerate(running):
            yield from texts_for_truth(value, f"{above}::{number}")


def setting_ids(document: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Every setting of a document: sections, and what is in them."""
    for key, value in document.items():
        yield f"{above}{key}"
        if _is_section(value):
            yield from setting_ids(value, f"{above}{key}::")


def _is_section(value: Any) -> bool:
    return isinstance(value, Mapping) and "_target_" not in value


def _with_advice(name: str, known: Mapping[str, Any]) -> str:
    alike = difflib.get_close_matches(name, list(setting_ids(known)), n=1)
    return f"{name} (did you mean {alike[0]}?)" if alike else name


def _running_config() -> Mapping[str, Any]:
    from monai.bundle import ConfigParser

    frame = inspect.currentframe()
    while frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, ConfigParser):
            return owner.config
        frame = frame.f_back
    raise ValueError("require_known_settings must be called from a bundle's JSON, got a call from elsewhere")
