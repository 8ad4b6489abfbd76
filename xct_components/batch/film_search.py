"""What a folder holds: films, files that are known to be something else, and other files."""

from __future__ import annotations

import json
import math
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xct_components.batch.readable_name import readable_name
from xct_components.data.folder_walk import NOWHERE, FolderWalk, is_dead_link
from xct_components.failures import Failure

VOLUME_SUFFIXES, PICTURE_SUFFIXES = (".nii.gz", ".nii"), (".png", ".jpg", ".jpeg", ".tif", ".tiff")
DICOM_SUFFIXES = (".dcm", ".dicom")
LATERAL_VIEWS = ("LL", "RL")
LATERAL = "a lateral film ({}): a batch takes frontal films; give both to xct generate FRONTAL --lateral THIS"


@dataclass(frozen=True)
class SkippedFile:
    """A file that is no frontal film.

    Args:
        name: of the file below the folder, readable.
        reason: what it is.
    """

    name: str
    reason: str


@dataclass(frozen=True)
class FilmFolder:
    """What a folder holds.

    Args:
        films: what may be a frontal film, relative to the folder, in order of their names.
        skipped: films and images that are known to be something else.
        others: how many other files there are.
    """

    films: tuple[Path, ...]
    skipped: tuple[SkippedFile, ...]
    others: int


def films_below(folder: Path, apart: Path | None = None) -> FilmFolder:
    """All films in a folder and the folders in it, linked ones too; hidden ones are left out.

    Args:
        folder: the input.
        apart: a folder that is no input wherever a link leads to it.

    Raises:
        UnreadableInput: if the folder cannot be read.
    """
    films, skipped, others = [], [], 0
    walk = FolderWalk(folder, apart)
    paths = [here / name for here, names in walk for name in names if not name.startswith(".")]
    skipped += [SkippedFile(_name(path, folder), reason) for path, reason in walk.left_out]
    for path in paths:
        kind = _kind(path)
        if kind is None:
            others += 1
        elif kind:
            skipped.append(SkippedFile(_name(path, folder), kind))
        else:
            films.append(path.relative_to(folder))
    return FilmFolder(tuple(sorted(films)), tuple(sorted(skipped, key=lambda one: one.name)), others)


def _name(path: Path, folder: Path) -> str:
    return readable_name(path.relative_to(folder).as_posix())


def _kind(path: Path) -> str | None:
    """Nothing to say of what may be a film; what it is otherwise; None for a file of another kind.

    A file that cannot be opened may be a film: its reader says what is wrong.
    """
    from xct_components.data.ct.dicom_series import is_dicom

    name = path.name.lower()
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return None
        if is_dicom(path):
            return _lateral_by_json(path) or _kind_of_dicom(path)
    except OSError:
        if name.endswith((*PICTURE_SUFFIXES, *VOLUME_SUFFIXES, *DICOM_SUFFIXES)):
            return ""
        return NOWHERE if is_dead_link(path) else None
    if name.endswith(VOLUME_SUFFIXES):
        return _lateral_by_json(path) or _kind_of_nifti(path)
    return _lateral_by_json(path) if name.endswith((*PICTURE_SUFFIXES, *DICOM_SUFFIXES)) else None


def _kind_of_dicom(path: Path) -> str:
    from xct_components.data.film.dicom_reading import damage_named, film_header

    try:
        with damage_named(path):
            return _kind_of_object(film_header(path))
    except Failure:
        return ""


def _kind_of_object(header: Any) -> str:
    from xct_components.data.film.dicom_admission import (
        CAPTURE_CLASSES,
        CAPTURE_MODALITIES,
        FILM_CLASSES,
        MODALITIES,
        code_string,
    )
    from xct_components.data.film.dicom_view import tagged_view

    kind, modality = str(header.get("SOPClassUID") or ""), code_string(header.get("Modality"))
    if "Rows" not in header:
        return f"a DICOM file without an image ({f'modality {modality}' if modality else 'no modality'})" if kind else ""
    if modality and modality not in (CAPTURE_MODALITIES if kind in CAPTURE_CLASSES else MODALITIES):
        return f"modality {modality}, not a film (CR or DX)"
    if kind and kind not in (*FILM_CLASSES, *CAPTURE_CLASSES):
        return "an image of another kind, not a film (CR or DX)"
    view, position, _ = tagged_view(header)
    return LATERAL.format(f"the tags say {position or 'so'}") if view == "lateral" else ""


def _kind_of_nifti(path: Path) -> str:
    import nibabel

    try:
        shape = tuple(int(size) for size in nibabel.load(path).shape)
    except Exception:  # as above
        return ""
    return f"a volume of the shape {shape}, not a film" if math.prod(shape[2:]) != 1 else ""


def _lateral_by_json(path: Path) -> str:
    """Whether ``xct simulate`` says in the JSON beside the film that it is a lateral one."""
    from xct_components.data.simulate.film_geometry import SCHEMA

    suffix = next((suffix for suffix in VOLUME_SUFFIXES if path.name.lower().endswith(suffix)), path.suffix)
    beside = path.with_name(path.name[: len(path.name) - len(suffix)] + ".json")
    try:
        document = json.loads(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    is_ours = isinstance(document, dict) and document.get("schema") == SCHEMA
    view = str(document.get("view")) if is_ours else ""
    return LATERAL.format(f"{beside.name} says {view}") if view in LATERAL_VIEWS else ""
