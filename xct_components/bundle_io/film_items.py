"""The films a bundle is given: one file, or all of a folder; each with its coarse volume where there is one."""

from __future__ import annotations

from pathlib import Path

from xct_components.data.torchrun_share import place_in_job
from xct_components.failures import UnreadableInput, UsageFailure

#: Longest first, so that a stem is what remains.
VOLUME_SUFFIXES = (".nii.gz", ".nii")
FILM_SUFFIXES = (*VOLUME_SUFFIXES, ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".dcm")
#: What a stage appends to a film's name when it saves the volume.
VOLUME_POSTFIX = "_ct"


def film_items(films: str | Path, coarse: str | Path | None = None) -> list[dict[str, str]]:
    """One item per film: "image", its path, and "coarse", the path of the previous stage's volume, if one is given.

    Under ``torchrun`` every process gets its own share of a folder; there may be fewer films than processes.

    Args:
        films: a film, or a folder with films in it (not below it); hidden files and what no film ends in are left out.
        coarse: the volume of the film; with a folder of films a folder of volumes, FILM_ct.nii.gz or FILM.nii.gz for each,
            as the previous stage saves them.

    Raises:
        UnreadableInput: if there is no such file or folder, or no film in it.
        UsageFailure: if a film has no volume, or one volume is given for a folder of films.
    """
    rank, processes = place_in_job()
    return _all_items(films, coarse)[rank::processes]


def _all_items(films: str | Path, coarse: str | Path | None) -> list[dict[str, str]]:
    source = Path(films)
    if not source.exists():
        raise UnreadableInput(f"input must be a film or a folder with films; there is no {source}")
    if coarse is not None and not Path(coarse).exists():
        raise UnreadableInput(f"coarse must be a volume or a folder with volumes; there is no {coarse}")
    paths = sorted(path for path in source.iterdir() if _is_film(path)) if source.is_dir() else [source]
    if not paths:
        raise UnreadableInput(f"{source} holds no film; films end in {', '.join(FILM_SUFFIXES)}")
    if coarse is None:
        return [{"image": str(path)} for path in paths]
    if source.is_dir() and not Path(coarse).is_dir():
        raise UsageFailure(f"coarse must be a folder as the input is one, got the file {coarse}")
    return [{"image": str(path), "coarse": str(_coarse_of(path, Path(coarse)))} for path in paths]


def stem_of(film: str | Path) -> str:
    """The file name without its ending, ".nii.gz" being one ending."""
    name = Path(film).name
    suffix = next((suffix for suffix in FILM_SUFFIXES if name.lower().endswith(suffix)), "")
    return name[: len(name) - len(suffix)] or name


def _is_film(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(".") and path.name.lower().endswith(FILM_SUFFIXES)


def _coarse_of(film: Path, coarse: Path) -> Path:
    if not coarse.is_dir():
        return coarse
    names = [f"{stem_of(film)}{postfix}{suffix}" for postfix in (VOLUME_POSTFIX, "") for suffix in VOLUME_SUFFIXES]
    found = next((coarse / name for name in names if (coarse / name).is_file()), None)
    if found is None:
        raise UsageFailure(f"coarse must hold a volume of every film; {coarse} has none of {', '.join(names)}")
    return found
