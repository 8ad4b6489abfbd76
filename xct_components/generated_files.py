"""What a run of ``xct generate`` leaves: volumes as NIfTI or DICOM, a picture, a page, the record. All of it, or nothing."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from xct_components.data.atomic_folder import made_folder, require_free_folder, written_folder
from xct_components.failures import CannotWrite, UnreadableInput

if TYPE_CHECKING:
    from monai.data import MetaTensor

    from xct_components.dicom.source_film import SourceFilm
    from xct_components.inferers.generated_ct import GeneratedCt

FORMATS = ("nifti", "dicom", "png", "html")
CT_FILE, STD_FILE, PREVIEW_FILE, REPORT_FILE = "ct.nii.gz", "std.nii.gz", "preview.png", "report.json"
PAGE_FILE = "report.html"
#: A CT series, one file per slice; and the Parametric Map of the standard deviation.
DICOM_FOLDER, DICOM_STD_FILE = "dicom", "dicom_std.dcm"
#: Single members beside the CT, as many as a film bends.
MOST_MEMBERS = 16
MEMBER_FILES = tuple(f"member_{number}.nii.gz" for number in range(1, MOST_MEMBERS + 1))
#: Name -> format, and whether it shows the standard deviation.
FILES = {
    CT_FILE: ("nifti", False),
    **dict.fromkeys(MEMBER_FILES, ("nifti", False)),
    STD_FILE: ("nifti", True),
    DICOM_FOLDER: ("dicom", False),
    DICOM_STD_FILE: ("dicom", True),
    PREVIEW_FILE: ("png", False),
    PAGE_FILE: ("html", False),
}
#: The most that a voxel takes on the disk: int16, which gzip about halves; int16; float32.
BYTES_PER_VOXEL = {CT_FILE: 2, **dict.fromkeys(MEMBER_FILES, 2), STD_FILE: 2, DICOM_FOLDER: 2, DICOM_STD_FILE: 4}
#: Level 1 writes 256³ voxels in a second; higher levels take longer and gain 2 %.
GZIP_LEVEL = 1


def free_targets(folder: Path, formats: Sequence[str], *, with_std: bool, overwrite: bool, members: int = 0) -> dict[str, Path]:
    """What to write, once it is clear that it can be written and that nothing is lost by it.

    Args:
        folder: made by ``write_generated`` if missing.
        formats: some of ``FORMATS``; report.json is always among the targets.
        with_std: whether the standard deviation is wanted; it is written if there is one.
        overwrite: whether what has one of the names may be replaced.
        members: how many members there will be.

    Returns:
        Paths by name; that of ``DICOM_FOLDER`` is a folder.

    Raises:
        CannotWrite: if the folder cannot be written to, or something would be lost.
    """
    names = [name for name, (format_, _) in FILES.items() if format_ in formats]
    require_free_folder(folder, [*names, REPORT_FILE], overwrite=overwrite)
    wanted = [name for name in names if (with_std or not is_std(name)) and name not in MEMBER_FILES[members:]]
    targets = {name: folder / name for name in (*wanted, REPORT_FILE)}
    if DICOM_FOLDER in targets:
        _require_series_or_nothing(targets[DICOM_FOLDER])
    return targets


def write_generated(targets: dict[str, Path], ct: "GeneratedCt", film: Path, lateral: Path | None = None) -> list[Path]:
    """Write all files or none; the folder too.

    Args:
        targets: of ``free_targets``.
        ct: the result.
        film: the file it was made of; if that is DICOM, the DICOM files go into its study.
        lateral: the second film, if there was one.

    Returns:
        What was written.

    Raises:
        CannotWrite: if the disk is full or the folder not writable.
        UnreadableInput: if a DICOM series is asked for and the film is gone, or is no longer the one that was read.
    """
    from xct_components.data.atomic_files import written_together

    source = _source(ct, film, lateral) if DICOM_FOLDER in targets else None
    written = {name: path for name, path in targets.items() if ct.std is not None or not is_std(name)}
    files = {name: path for name, path in written.items() if name != DICOM_FOLDER}
    with ExitStack() as opened:
        opened.enter_context(made_folder(targets[REPORT_FILE].parent))
        folder = opened.enter_context(written_folder(targets[DICOM_FOLDER])) if source else None
        drafts = dict(zip(files, opened.enter_context(written_together(*files.values())), strict=True))
        if folder and source:
            ct = _write_dicom(folder, drafts.get(DICOM_STD_FILE), ct, source)
        for name, write in _WRITERS.items():
            if name in drafts:
                write(drafts[name], ct)
    _remove_stale(targets, written)
    return list(written.values())


def is_std(name: str) -> bool:
    """Whether a file of this name shows the standard deviation."""
    return name in FILES and FILES[name][1]


def _remove_stale(targets: dict[str, Path], written: dict[str, Path]) -> None:
    """The deviation and the members of an earlier run must not stay beside another CT."""
    formats = {FILES[name][0] for name in targets if name in FILES}
    for name, (format_, _) in FILES.items():
        if (is_std(name) or name in MEMBER_FILES) and format_ in formats and name not in written:
            targets[REPORT_FILE].with_name(name).unlink(missing_ok=True)


def _require_series_or_nothing(folder: Path) -> None:
    """What is replaced as a whole must hold nothing but a series of ours."""
    others = [path.name for path in folder.iterdir() if not path.match("IM*.dcm")] if folder.is_dir() else []
    if folder.is_file() or others:
        held = f"holds {others[0]}" if others else "is a file"
        raise CannotWrite(f"cannot replace {folder}: it {held}, which is no part of a series; choose another folder")


def _source(ct: "GeneratedCt", film: Path, lateral: Path | None) -> "SourceFilm":
    """Whose the CT is."""
    from xct_components.dicom.source_film import source_film

    source = source_film(film, lateral)
    if source.sha256 != ct.record["film"].get("file", {}).get("sha256", source.sha256):
        raise UnreadableInput(f"{film.name} was changed while its CT was computed: whose it is cannot be said; run again")
    return source


def _write_dicom(folder: Path, std: Path | None, ct: "GeneratedCt", source: "SourceFilm") -> "GeneratedCt":
    """The series, and the deviation if there is one; the CT with their UIDs in its record."""
    from xct_components.dicom.ct_writer import ct_slices, write_ct_series
    from xct_components.dicom.synthetic_run import synthetic_run
    from xct_components.dicom.uncertainty_writer import write_uncertainty_map

    run = synthetic_run(ct.record)
    slices = ct_slices(ct.volume, ct.field, source, run)
    write_ct_series(folder, slices)
    if std is not None:
        write_uncertainty_map(std, _present(ct.std), ct.field, slices, source, run, meaning=ct.std_title.capitalize())
    uids = {
        "series_instance_uid": str(slices[0].SeriesInstanceUID),
        "frame_of_reference_uid": str(slices[0].FrameOfReferenceUID),
        "patient_and_study": "of the film" if source.is_named else "anonymous",
    }
    return replace(ct, record={**ct.record, "dicom": uids})


def _write_ct(path: Path, ct: "GeneratedCt") -> None:
    _write_nifti(path, ct.volume, "SYNTHETIC CT from a film, not for diagnosis")


def _write_member(number: int, path: Path, ct: "GeneratedCt") -> None:
    _write_nifti(path, ct.members[number], "SYNTHETIC CT: one bent CT of several")


def _write_std(path: Path, ct: "GeneratedCt") -> None:
    _write_nifti(path, _present(ct.std), "SYNTHETIC CT: standard deviation, HU")


def _write_preview(path: Path, ct: "GeneratedCt") -> None:
    from xct_components.report import write_preview

    write_preview(path, ct)


def _write_page(path: Path, ct: "GeneratedCt") -> None:
    from xct_components.report_page.page import write_page

    write_page(path, ct)


def _write_report(path: Path, ct: "GeneratedCt") -> None:
    from xct_components.report import write_json

    write_json(path, ct)


_WRITERS: "dict[str, Callable[[Path, GeneratedCt], None]]" = {
    CT_FILE: _write_ct,
    **{name: partial(_write_member, number) for number, name in enumerate(MEMBER_FILES)},
    STD_FILE: _write_std,
    PREVIEW_FILE: _write_preview,
    PAGE_FILE: _write_page,
    REPORT_FILE: _write_report,
}


def _present(volume: "MetaTensor | None") -> "MetaTensor":
    if volume is None:
        raise ValueError("std must be given for a file that is written, got None; see free_targets")
    return volume


def _write_nifti(path: Path, volume: "MetaTensor", description: str) -> None:
    """Whole HU in (D, H, W) with their RAS affine; the same bytes for the same volume."""
    import gzip

    import nibabel
    import numpy as np

    image = nibabel.Nifti1Image(volume[0].round().numpy().astype(np.int16), np.asarray(volume.affine))
    image.set_sform(image.affine, code="scanner")
    image.set_qform(image.affine, code="scanner")
    image.header.set_xyzt_units("mm")
    image.header.set_slope_inter(1, 0)
    image.header["descrip"] = description.encode()
    with path.open("wb") as stream, gzip.GzipFile("", "wb", GZIP_LEVEL, stream, mtime=0) as packed:
        image.to_stream(packed)
