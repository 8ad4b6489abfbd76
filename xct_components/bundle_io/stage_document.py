"""A bundle's own training document, read to judge what it has trained: the stage with its weights, the stages before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xct_components.bundle_io.plain_failures import failure_behind
from xct_components.data.file_hash import file_sha256
from xct_components.failures import UnreadableInput, WeightsFailure, first_line, is_out_of_memory
from xct_components.networks.cascade_stage import CascadeStage

#: What defines a trained stage; the second loads its weights.
DOCUMENTS = ("train.json", "evaluate.json")


class StageDocument:
    """train.json and evaluate.json of a bundle, with overlays.

    Args:
        bundle: the folder, .../stage1.
        overlays: more documents, in its ``configs`` or anywhere, such as "full.json".
        device: of the networks.

    Raises:
        UnreadableInput: if the folder is no bundle, or a document is missing or damaged.
    """

    def __init__(self, bundle: str | Path, overlays: Sequence[str] = (), device: str = "cpu") -> None:
        from monai.bundle import ConfigParser

        self.bundle = Path(bundle)
        files = [_document(self.bundle, name) for name in (*DOCUMENTS, *overlays)]
        self._parser = ConfigParser()
        try:
            self._parser.read_config([str(file) for file in files])
            self._parser["bundle_root"], self._parser["device"] = str(self.bundle), device
        except (ValueError, KeyError) as error:
            raise UnreadableInput(f"the documents of {self.bundle} cannot be read together: {first_line(error)}") from error

    def stage(self) -> CascadeStage:
        """The stage with its weights, frozen.

        Raises:
            WeightsFailure: if they are missing, damaged or not those of the network.
        """
        stage: CascadeStage = self.setting("network")
        return stage.eval().requires_grad_(False)

    def parents(self) -> list[CascadeStage]:
        """The stages before it, as the bundle finds them.

        Raises:
            WeightsFailure: if a bundle of theirs is not there, or its weights are not.
        """
        return list(self.setting("parents"))

    def weights(self) -> list[dict[str, str]]:
        """{"bundle", "file", "sha256"} of all weights, the stage's first; after ``stage`` and ``parents``."""
        file = Path(self.setting("ckpt_path"))
        own = {"bundle": self.bundle.resolve().name, "file": file.name, "sha256": file_sha256(file)}
        return [own, *(self.setting("weights").records if "weights" in self._parser else [])]

    def trains_depth(self) -> bool:
        """Whether the loss holds the depth distribution to the true one."""
        losses = self._parser["loss"]
        return losses.get("losses", [losses])[-1].get("depth_prior", 0.0) > 0.0

    def setting(self, name: str) -> Any:
        """What the documents say under an id, made if it is a component.

        Raises:
            Failure: what stopped the component from being made.
            WeightsFailure: if that was nothing a user could have been told.
            RuntimeError: MONAI's, where memory is short; ``is_out_of_memory`` knows it.
        """
        try:
            return self._parser.get_parsed_content(name)
        except KeyError as error:
            raise UnreadableInput(f"train.json of {self.bundle} has no {name}; is it the bundle of a stage?") from error
        except RuntimeError as error:
            failure = failure_behind(error)
            if failure is None and is_out_of_memory(error):
                raise
            unexpected = WeightsFailure(f"{self.bundle} cannot be put together: {first_line(error.__cause__ or error)}")
            raise failure or unexpected from error


def _document(bundle: Path, name: str) -> Path:
    for file in (bundle / "configs" / name, Path(name)):
        if file.is_file():
            return file
    raise UnreadableInput(f"{bundle} is no bundle of a stage, or lacks a document: no {bundle / 'configs' / name}")
