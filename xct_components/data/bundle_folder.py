"""The folder of the three bundles: where it is, and what its files say of themselves. Read without any heavy library."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xct_components.data.file_hash import file_sha256
from xct_components.failures import WeightsFailure

#: Names the folder that holds stage1, stage2 and stage3.
BUNDLES_VARIABLE = "XCT_BUNDLES"
STAGES = (1, 2, 3)
_METADATA, _WEIGHTS, _TRAINING = Path("configs/metadata.json"), Path("models/model.pt"), Path("models/model.json")


@dataclass(frozen=True)
class BundleFacts:
    """What the files of one bundle say.

    Args:
        stage: 1 to 3.
        folder: of the bundle.
        version: of its metadata, or None.
        sha256: of its weights, or None where there are none.
        expected_sha256: of the weights that its model.json describes, or None.
        training: what model.json says beside, such as epoch and metrics.
        problem: what is wrong, with the way out; None if nothing is.
    """

    stage: int
    folder: str
    version: str | None
    sha256: str | None
    expected_sha256: str | None
    training: dict[str, Any]
    problem: str | None

    @property
    def matches(self) -> bool | None:
        """Whether the weights are those of model.json; None if that says nothing."""
        return None if self.expected_sha256 is None else self.sha256 == self.expected_sha256


def bundles_folder(given: str | os.PathLike[str] | None = None) -> Path:
    """The folder of the three bundles: the one given, the one that XCT_BUNDLES names, ./bundles, or the one beside the package.

    Raises:
        WeightsFailure: if there is none.
    """
    named = given or os.environ.get(BUNDLES_VARIABLE)
    places = [Path(named)] if named else [Path("bundles"), Path(__file__).parent.parent.parent / "bundles"]
    found = next((place for place in places if (place / "stage1").is_dir()), None)
    if found is None:
        raise WeightsFailure(
            f"no bundles: {' and '.join(map(str, places))} hold no folder stage1; name the folder that does with --bundles or "
            f"{BUNDLES_VARIABLE}"
        )
    return found


def bundle_facts(folder: Path, stage: int) -> BundleFacts:
    """What a folder of bundles holds for a stage; nothing is loaded.

    Args:
        folder: of the bundles.
        stage: 1 to 3.
    """
    bundle = folder / f"stage{stage}"
    training = _document(bundle / _TRAINING)
    expected, version = training.pop("sha256", None), _document(bundle / _METADATA).get("version")
    sha256, problem = None, None
    try:
        sha256 = file_sha256(bundle / _WEIGHTS)
    except OSError as error:
        problem = f"stage {stage} has no weights: {bundle / _WEIGHTS} cannot be read ({error.strerror}); copy them"
    if not (bundle / "configs" / "inference.json").is_file():
        problem = f"no stage {stage}: {bundle} is no bundle; copy its folder there, or ask for fewer --stages"
    elif sha256 and expected not in (None, sha256):
        problem = f"stage {stage}: {_WEIGHTS} is not the file that {_TRAINING} describes; copy both again"
    return BundleFacts(stage, str(bundle), version, sha256, expected, training, problem)


def _document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
