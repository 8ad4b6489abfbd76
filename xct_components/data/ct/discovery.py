"""The CTs in a folder of anything: DICOM series by their UID, volume files by their suffix; what is left out, and why."""

from __future__ import annotations

import fnmatch
import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xct_components.data.ct.dicom_series import is_dicom
from xct_components.data.folder_walk import NOWHERE, FolderWalk, is_dead_link
from xct_components.failures import UnreadableInput, UsageFailure

VOLUME_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mhd", ".mha")
#: Voxels beside the header of .nhdr or .mhd: read with it.
_DETACHED = (".raw", ".zraw", ".raw.gz")
#: Characters of a fingerprint that stands for an identifier.
SHORT_HASH = 12

_TAGS = ["SeriesInstanceUID", "PatientID", "Modality", "ImageType"]


@dataclass(frozen=True)
class CtSource:
    """One CT on disk.

    Args:
        case: its name in the output: of the file, or for DICOM a fingerprint of the SeriesInstanceUID.
        patient: who it shows: see ``find_cts``.
        files: one volume file, or the images of a DICOM series.
        below_input: the file, or the folder of the series, relative to the input.
        problem: why it cannot be prepared, if that is clear from the headers.
    """

    case: str
    patient: str
    files: tuple[Path, ...]
    below_input: str
    problem: str | None = None

    @property
    def is_dicom(self) -> bool:
        """Whether the files are images of a DICOM series."""
        return self.case.startswith("series-")


@dataclass(frozen=True)
class FoundCts:
    """What a folder holds.

    Args:
        sources: the CTs, ordered by case.
        ignored: (path below the input, reason) of every other file, and of folders that were not read.
        unread: those of them that may hide CTs: folders that cannot be read, links that lead nowhere or back.
    """

    sources: tuple[CtSource, ...]
    ignored: tuple[tuple[str, str], ...]
    unread: tuple[tuple[str, str], ...] = ()


def find_cts(
    folder: Path, *, exclude: Sequence[str] = (), patient_pattern: str | None = None, apart: Path | None = None
) -> FoundCts:
    """Every CT below ``folder``, also behind links, in an order that depends on names alone.

    Whom a CT shows is the PatientID of DICOM (as a fingerprint) or the name of a volume file up to its first dot, unless
    ``patient_pattern`` says otherwise.

    Args:
        folder: the input.
        exclude: shell patterns of paths below it to leave out, e.g. ``*label*``.
        patient_pattern: regular expression searched in each path below the input; its first group (or the whole match)
            names the patient.
        apart: a folder that is no input wherever a link leads to it.

    Raises:
        UnreadableInput: if the folder is missing or cannot be read.
        UsageFailure: if the pattern is no regular expression.
    """
    if not folder.is_dir():
        raise UnreadableInput(f"{folder} does not exist, or is not a folder")
    pattern = _compiled(patient_pattern)
    images: dict[str, list[tuple[Path, Any]]] = defaultdict(list)
    volumes, ignored, damaged = [], [], []
    files, unread = _files(folder, apart, exclude)
    for path in files:
        below = path.relative_to(folder).as_posix()
        reason = _why_ignored(path, below, exclude)
        if reason is not None:
            ignored.append((below, reason))
        elif path.name.lower().endswith(VOLUME_SUFFIXES):
            volumes.append(path)
        else:
            header = _header(path)
            if header is None:
                damaged.append(path)
            elif (reason := _why_no_ct_image(header)) is not None:
                ignored.append((below, reason))
            else:
                images[str(header.SeriesInstanceUID)].append((path, header))
    sources = [*_series_sources(images, folder, pattern), *_volume_sources(volumes, folder, pattern)]
    sources += [_damaged_source(path, folder) for path in damaged]
    return FoundCts(tuple(sorted(sources, key=lambda source: source.case)), (*ignored, *unread), unread)


def fingerprint(text: str) -> str:
    """A short name for an identifier that must not be shown; whoever knows the identifier can recompute it."""
    return hashlib.sha256(text.encode()).hexdigest()[:SHORT_HASH]


def _compiled(pattern: str | None) -> re.Pattern[str] | None:
    try:
        return None if pattern is None else re.compile(pattern)
    except re.error as error:
        raise UsageFailure(f"patient_pattern must be a regular expression, got {pattern!r}: {error}") from error


def _files(folder: Path, apart: Path | None, exclude: Sequence[str]) -> tuple[list[Path], tuple[tuple[str, str], ...]]:
    """All files; and (path below the folder, reason) of folders and links behind which nothing was read."""
    walk = FolderWalk(folder, apart)
    found = [here / name for here, names in walk for name in names]
    dead = {path: NOWHERE for path in found if is_dead_link(path)}
    unread = [(path.relative_to(folder).as_posix(), reason) for path, reason in (*walk.unread, *dead.items())]
    return [path for path in found if path not in dead], tuple(one for one in unread if not _is_excluded(one[0], exclude))


def _is_excluded(below: str, exclude: Sequence[str]) -> bool:
    return any(fnmatch.fnmatch(below, pattern) for pattern in exclude)


def _why_ignored(path: Path, below: str, exclude: Sequence[str]) -> str | None:
    name = path.name.lower()
    if _is_excluded(below, exclude):
        return "excluded by your pattern"
    if name.startswith(".") or not path.is_file():
        return "a hidden or special file"
    if name.endswith(VOLUME_SUFFIXES) or is_dicom(path) or name.endswith(".dcm"):
        return None
    return "voxels of a separate header" if name.endswith(_DETACHED) else "neither a volume file nor DICOM"


def _header(path: Path) -> Any | None:
    import pydicom

    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_TAGS)
        return header if "SeriesInstanceUID" in header else None
    except Exception:  # whatever a damaged header makes pydicom say
        return None


def _why_no_ct_image(header: Any) -> str | None:
    modality = str(header.get("Modality", "unknown"))
    if modality != "CT":
        return f"DICOM of modality {modality}, not CT"
    return "a CT localizer" if "LOCALIZER" in (header.get("ImageType") or ()) else None


def _series_sources(
    images: dict[str, list[tuple[Path, Any]]], folder: Path, pattern: re.Pattern[str] | None
) -> Iterator[CtSource]:
    for uid, members in images.items():
        below = os.path.commonpath([path.parent for path, _ in members])
        below = Path(below).relative_to(folder).as_posix()
        patients = sorted({str(header.get("PatientID", "")) for _, header in members})
        problem = None
        if len(patients) > 1:
            problem = f"the series holds images of {len(patients)} patients (PatientID differs); sort the files first"
        patient = _named_by(pattern, below) or f"patient-{fingerprint(patients[0] or uid)}"
        yield CtSource(f"series-{fingerprint(uid)}", patient, tuple(path for path, _ in members), below, problem)


def _volume_sources(volumes: Sequence[Path], folder: Path, pattern: re.Pattern[str] | None) -> Iterator[CtSource]:
    stems = [_safe_name(path.name) for path in volumes]
    for path, stem in zip(volumes, stems, strict=True):
        below = path.relative_to(folder).as_posix()
        unique = stem if stems.count(stem) == 1 else f"{stem}-{fingerprint(below)}"
        yield CtSource(unique, _named_by(pattern, below) or stem, (path,), below)


def _damaged_source(path: Path, folder: Path) -> CtSource:
    below = path.relative_to(folder).as_posix()
    name = f"damaged-{fingerprint(below)}"
    return CtSource(name, name, (path,), below, "its DICOM header cannot be read: damaged, or not DICOM")


def _named_by(pattern: re.Pattern[str] | None, below: str) -> str | None:
    found = pattern.search(below) if pattern else None
    return None if found is None else _safe_name(found[1] if found.re.groups else found[0])


def _safe_name(name: str) -> str:
    """The name up to its first dot, without what a folder's name or a shell may stumble over."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name.partition(".")[0])[:80] or "unnamed"
