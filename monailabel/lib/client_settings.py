"""What a client may set, checked before any of it reaches a command line."""

from __future__ import annotations

from typing import Any

from fastapi import HTTPException

FRONTAL = ("PA", "AP")

#: A type, or the words to choose from. Nothing else may pass: MONAI runs texts that begin with $ as code.
STAGE_SETTINGS: dict[str, Any] = {
    "mode": ("mean", "sample", "member"),
    "steps": int,
    "seed": int,
    "view": FRONTAL,
    "accept": bool,
    "pixel_mm": float,
}
CASCADE_SETTINGS: dict[str, Any] = {"stages": int, **STAGE_SETTINGS, "full_size": bool, "lateral_pixel_mm": float}
TRAIN_SETTINGS: dict[str, Any] = {
    "max_epochs": int,
    "real_repeats": int,
    "phantom_count": int,
    "batch_size": int,
    "learning_rate": float,
    "seed": int,
}
#: The app's own keys of a request.
_OWN = {"image", "label", "lateral", "instance"}
#: Those of MONAI Label and its clients, which mean nothing here.
_FOREIGN = {
    "model", "description", "save_label", "label_tag", "device", "session", "session_id", "logging", "timeout", "client_id",
    "label_info", "result_extension", "result_dtype", "result_compress", "result_write_to_file", "images", "max_batch_size",
    "multi_gpu", "gpus", "max_workers", "name", "pretrained", "local_rank", "run_id", "bundle_path",
}  # fmt: skip


def checked_settings(request: dict[str, Any], known: dict[str, Any]) -> list[str]:
    """The options of a command line.

    Args:
        request: of a client; empty texts count as not given.
        known: one of the tables above.

    Raises:
        HTTPException: 400 for a setting that is unknown, or of another kind.
    """
    unknown = set(request) - set(known) - _OWN - _FOREIGN
    if unknown:
        raise HTTPException(400, f"no such setting: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    given = {name: request[name] for name in known if request.get(name) not in (None, "")}
    return [f"--{name}={_checked(name, value, known[name])}" for name, value in given.items()]


def _checked(name: str, value: Any, kind: Any) -> Any:
    try:
        return _choices(kind)[str(value).lower()] if _choices(kind) else kind(str(value))
    except (KeyError, ValueError) as error:
        rule = f"one of {', '.join(_choices(kind))}" if _choices(kind) else "a whole number" if kind is int else "a number"
        raise HTTPException(400, f"{name} must be {rule}") from error


def _choices(kind: Any) -> dict[str, Any]:
    if kind is bool:
        return {"true": True, "false": False}
    return {one.lower(): one for one in kind} if isinstance(kind, tuple) else {}
