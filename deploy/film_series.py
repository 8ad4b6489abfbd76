"""A folder of DICOM films becomes a folder of CT series: what the operators of the MONAI Deploy app do, without its SDK."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pydicom

from xct_components.cascade import UnifiedHybridViTCascade
from xct_components.data.ct.dicom_series import is_dicom
from xct_components.data.folder_walk import FolderWalk
from xct_components.failures import CannotWrite, ExitCode, Failure, UnreadableInput
from xct_components.generated_files import free_targets, write_generated

MODALITIES = ("CR", "DX")
FORMATS = ("dicom", "png")


class SomeFailed(Failure):
    """Some films became no CT; the others did."""

    exit_code = ExitCode.PARTIAL


def films_in(folder: Path) -> list[Path]:
    """All DICOM files of modality CR or DX in and below the folder, in folders that are linked in too, by name.

    Raises:
        UnreadableInput: if there is none.
    """
    paths = sorted(here / name for here, names in FolderWalk(folder) for name in names)
    found = [path for path in paths if path.is_file() and is_dicom(path) and _is_film(path)]
    if not found:
        raise UnreadableInput(f"the input holds no DICOM film: no file below it has the modality {' or '.join(MODALITIES)}")
    return found


def write_series(films: Iterable[Path], output: Path, cascade: UnifiedHybridViTCascade) -> list[Path]:
    """A CT series with preview and report for each film: OUTPUT/1/dicom/IM0001.dcm and so on, numbered as the films are.

    Args:
        films: frontal ones; what the cascade refuses is left out.
        output: made if missing.
        cascade: with its weights.

    Returns:
        The folders that were written.

    Raises:
        CannotWrite: if there can be no output folder.
        SomeFailed: at the end, with the reasons by number of the film; names of files may name patients.
        Failure: the reason itself, if there was one film only.
    """
    films = list(films)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotWrite(f"cannot make the output folder: {error.strerror}") from error
    results = [_write_one(film, output / str(number), cascade) for number, film in enumerate(films, start=1)]
    failures = {number: one for number, one in enumerate(results, start=1) if isinstance(one, Failure)}
    if failures and len(films) == 1:
        raise failures[1]
    if failures:
        told = "; ".join(f"film {number}: {str(one).replace(films[number - 1].name, 'it')}" for number, one in failures.items())
        raise SomeFailed(f"{len(films) - len(failures)} of {len(films)} films became a CT; {told}")
    return [one for one in results if isinstance(one, Path)]


def _is_film(path: Path) -> bool:
    return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["Modality"]).get("Modality") in MODALITIES


def _write_one(film: Path, folder: Path, cascade: UnifiedHybridViTCascade) -> Path | Failure:
    """The folder; or why there is none."""
    try:
        targets = free_targets(folder, FORMATS, with_std=False, overwrite=False)
        write_generated(targets, cascade.generate(film), film)
    except Failure as failure:
        return failure
    return folder
