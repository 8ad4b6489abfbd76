"""``xct join-stages``: the weights of stages that were trained one by one as one file, as a joint training writes it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from xct_components.data.atomic_files import require_folder_for, written_together
from xct_components.failures import CannotWrite, UsageFailure, WeightsFailure

if TYPE_CHECKING:
    from torch import Tensor


def join_stages(bundles: str | None = None, *, output: str, stages: int = 3, overwrite: bool = False) -> list[Path]:
    """Join the weights of the stages into one file, such as unified_all_stages.pt: what a joint training leaves behind.

    No number is changed: UnifiedHybridViTCascade.from_pretrained(BUNDLES, weights=FILE) makes the very same volumes. A JSON
    beside the file holds its SHA-256, and for each stage the SHA-256 of its own weights and all that was known of them, its
    factors of the standard deviation too. The networks are still defined by the bundles. CTs that the weights hold go with
    them: treat the file as you treat the bundles.

    Args:
        bundles: folder with stage1, stage2 and stage3 (default - XCT_BUNDLES, ./bundles, or the one beside the package).
        output: the file, ending in .pt; its JSON is written beside it.
        stages: 1, 2 or 3; all up to it are joined.
        overwrite: replace files that exist.

    Returns:
        The file and its JSON.
    """
    targets = _free_targets(Path(output), overwrite=overwrite)
    from xct_components.bundle_io.parent_stages import WEIGHTS
    from xct_components.bundle_io.stage_weights import PARTS
    from xct_components.cascade import UnifiedHybridViTCascade
    from xct_components.data.bundle_folder import STAGES, bundle_facts, bundles_folder

    folder = bundles_folder(bundles)
    loaded = UnifiedHybridViTCascade.from_pretrained(folder, stages=stages).weights  # refuses what does not fit its network
    tensors: dict[str, Tensor] = {}
    known: dict[str, Any] = {}
    for number, record in zip(STAGES, loaded, strict=False):
        file, facts = folder / f"stage{number}" / WEIGHTS, bundle_facts(folder, number)
        if any(target.exists() and target.samefile(file) for target in targets):
            raise CannotWrite(f"cannot write {output}: it is the weights of stage {number}; choose another name")
        if facts.sha256 != record["sha256"]:
            raise WeightsFailure(f"{file} has changed while it was read; wait until its training is through, then join again")
        # a JSON that does not say which weights it describes is believed here no more than by the bundle
        known[f"stage{number}"] = {**record, **(facts.training if facts.matches else {})}
        tensors |= {f"stage{number}.{name}": tensor for name, tensor in _tensors(file).items()}
    _write(targets, tensors, {PARTS: known})
    return targets


def _free_targets(target: Path, *, overwrite: bool) -> list[Path]:
    """The file and its JSON, once it is clear that they can be written and that nothing is lost by it."""
    if target.suffix != ".pt":
        raise UsageFailure(f"output must end in .pt, got {target.name!r}")
    require_folder_for(target)
    targets = [target, target.with_suffix(".json")]
    for path in targets:
        if path.is_dir():
            raise CannotWrite(f"cannot write {path}: it is a folder; choose another name")
        if path.exists() and not overwrite:
            raise CannotWrite(f"{path} exists; choose another name, or add --overwrite")
    return targets


def _tensors(file: Path) -> "dict[str, Tensor]":
    """As they lie in the file: a network would hold them in float32."""
    import torch

    state: dict[str, Tensor] = torch.load(file, map_location="cpu", weights_only=True)
    return state


def _write(targets: list[Path], tensors: "dict[str, Tensor]", known: dict[str, Any]) -> None:
    import torch

    from xct_components.data.file_hash import file_sha256
    from xct_components.data.readable_json import readable_json

    with written_together(*targets) as (weights_draft, json_draft):
        with weights_draft.open("wb") as stream:  # given a path, torch writes its name into the file: other bytes, other hash
            torch.save(tensors, stream)
        json_draft.write_text(readable_json({"sha256": file_sha256(weights_draft), **known}), encoding="utf-8")
