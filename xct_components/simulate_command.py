"""``xct simulate``: a chest film from a CT on disk, with its geometry in a JSON beside it."""

import json
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xct_components.data.atomic_files import require_folder_for, written_together
from xct_components.failures import CannotWrite, InputWarning, UsageFailure

if TYPE_CHECKING:
    from torch import Tensor

    from xct_components.data.simulate.chest_exposure import ChestExposure
    from xct_components.data.simulate.simulated_film import SimulatedFilm
    from xct_components.geometry import VolumeGrid
    from xct_components.physics.display_curve import DisplayCurve
    from xct_components.physics.film_formation import FilmFormation

#: What the command line calls a view -> DICOM ViewPosition. The usual lateral has the left side at the detector.
VIEWS = {"PA": "PA", "AP": "AP", "LATERAL": "LL", "LL": "LL", "RL": "RL"}
FOOTPRINTS = ("area", "ray")
FILM_SUFFIXES = (".png", ".dcm", ".nii.gz", ".nii")
#: "typical" film formation: 120 kVp, a grid, an entrance dose within the range of surveys, a CsI panel.
TYPICAL_FILM = {"tube_kvp": 120, "scatter_to_primary": 0.4, "photons_per_mm2": 1e6, "blur_sigma_mm": 0.15}
#: Line integrals shown as black and white: fixed, so that films of different patients compare; laterals cross the shoulders.
FRONTAL_WINDOW, LATERAL_WINDOW = (0.5, 6.5), (0.5, 8.5)


def simulate(  # noqa: PLR0913 - each argument is an option of the command line
    ct: str,
    *,
    output: str,
    view: str = "PA",
    rows: int = 512,
    cols: int = 512,
    field_mm: float = 320.0,
    source_to_detector_mm: float = 1800.0,
    source_to_patient_mm: float = 1600.0,
    energy_kev: float = 60.0,
    footprint: str = "area",
    film_formation: Any = None,
    seed: int = 0,
    series_uid: str | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Render a chest film from a CT, with its geometry in a JSON beside it.

    The middle of the film is the middle of the body. All positions in the JSON are in the CT's own frame, so that whatever
    is reconstructed from the film can be laid over the CT.

    Args:
        ct: a .nii, .nii.gz, .nrrd, .nhdr, .mhd or .mha file, a folder with a DICOM CT series, or one file of it.
        output: film.png (16-bit grey), film.dcm (DICOM DX) or film.nii.gz (line integrals, float32).
        view: PA, AP or LATERAL (left side at the detector; RL for the right side).
        rows: pixels from top to bottom.
        cols: pixels from left to right.
        field_mm: longer side of the film's field, measured in the patient. Pixels are square.
        source_to_detector_mm: from the focal spot to the detector.
        source_to_patient_mm: from the focal spot to the middle of the body.
        energy_kev: photon energy of the line integrals (film_formation has its own).
        footprint: area (mean over each pixel) or ray (through its centre).
        film_formation: typical (120 kVp, scatter, noise, blur), or a JSON of the settings of FilmFormation.
        seed: randomness of the noise of film_formation.
        series_uid: SeriesInstanceUID, for a folder with several CT series (default - the one of most images).
        overwrite: replace files that exist.

    Returns:
        The film and its JSON.
    """
    _require_one_of("view", view.upper(), VIEWS)
    _require_one_of("footprint", footprint, FOOTPRINTS)
    placement = {
        "view": VIEWS[view.upper()],
        "rows": rows,
        "cols": cols,
        "field_mm": field_mm,
        "source_to_detector_mm": source_to_detector_mm,
        "source_to_patient_mm": source_to_patient_mm,
    }
    formation = _film_formation(film_formation)
    target = _free_target(Path(output), Path(ct), overwrite=overwrite)
    with _stages() as stage:
        stage("reading the CT")
        ct_hu, grid, notes = _read(ct, series_uid)
        stage("projecting")
        exposure, film = _expose(ct_hu, grid, placement, formation, seed, energy_kev=energy_kev, footprint=footprint)
        stage("writing")
        physics = {"footprint": footprint, "energy_kev": energy_kev, "film_formation": None, "seed": None}
        if formation:
            physics |= {"energy_kev": None, "film_formation": formation.to_json(), "seed": seed}
        geometry = _describe(film, exposure, Path(ct).name, ct_hu, physics, notes)
        sidecar = _write(target, film, exposure, geometry, overwrite=overwrite)
    for note in geometry["warnings"]:
        warnings.warn(note, InputWarning, stacklevel=2)
    return [target, sidecar]


def display_curve(view: str) -> "DisplayCurve":
    """The fixed window in which a film of ``view`` is shown: linear in the line integral."""
    from xct_components.physics.display_curve import DisplayCurve

    return DisplayCurve(window=FRONTAL_WINDOW if view in ("PA", "AP") else LATERAL_WINDOW)


def _read(ct: str, series_uid: str | None) -> "tuple[Tensor, VolumeGrid, list[str]]":
    from xct_components.data.ct.reading import read_ct

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", InputWarning)
        ct_hu, grid = read_ct(ct, series_uid=series_uid)
    return ct_hu, grid, [str(entry.message) for entry in caught]


def _expose(
    ct_hu: "Tensor", grid: "VolumeGrid", placement: dict[str, Any], formation: "FilmFormation | None", seed: int, **options: Any
) -> "tuple[ChestExposure, SimulatedFilm]":
    import torch

    from xct_components.data.simulate.chest_exposure import chest_exposure_for
    from xct_components.data.simulate.simulated_film import simulate_film

    generator = torch.Generator().manual_seed(seed)
    with _usage_errors():
        exposure = chest_exposure_for(ct_hu, grid, **placement)
        return exposure, simulate_film(ct_hu, grid, exposure.beam, formation, generator, **options)


def _describe(
    film: "SimulatedFilm", exposure: "ChestExposure", ct_name: str, ct_hu: "Tensor", physics: dict[str, Any], notes: list[str]
) -> dict[str, Any]:
    from xct_components.data.simulate.film_geometry import film_geometry, voxels_sha256

    return film_geometry(
        film,
        exposure,
        ct={"name": ct_name, "voxels_sha256": voxels_sha256(ct_hu)},
        physics=physics,
        display=display_curve(exposure.view).to_json(),
        warnings=notes,
    )


def _write(
    target: Path, film: "SimulatedFilm", exposure: "ChestExposure", geometry: dict[str, Any], *, overwrite: bool
) -> Path:
    """The film and its JSON, both or neither; the path of the JSON."""
    from xct_components.data.readable_json import readable_json
    from xct_components.data.simulate.film_files import display_pixels, write_nifti_film, write_png_film
    from xct_components.dicom.dx_writer import write_dx_film

    sidecar = target.with_name(target.name[: -len(_film_suffix(target))] + ".json")
    text = readable_json(geometry)
    if sidecar.exists() and not overwrite and sidecar.read_text(encoding="utf-8", errors="replace") != text:
        raise CannotWrite(f"{sidecar} exists and says something else; choose another name, or add --overwrite")
    curve = display_curve(exposure.view)
    with written_together(target, sidecar) as (film_draft, sidecar_draft):
        sidecar_draft.write_text(text, encoding="utf-8")
        if target.suffix == ".png":
            write_png_film(film_draft, film, curve)
        elif target.suffix == ".dcm":
            sha256 = geometry["ct"]["voxels_sha256"]
            write_dx_film(film_draft, display_pixels(film, curve), exposure, ct_sha256=sha256, description=_in_words(geometry))
        else:
            write_nifti_film(film_draft, film)
    return sidecar


def _in_words(geometry: dict[str, Any]) -> str:
    low, high = geometry["display"]["window"]
    beam = json.dumps(geometry["physics"]["film_formation"]) if geometry["physics"]["film_formation"] else None
    beam = beam or f"{geometry['physics']['energy_kev']:g} keV"
    return f"Grey 0 to 65535 = line integral {low:g} to {high:g}; {beam}; {geometry['software']}."


def _film_formation(given: Any) -> "FilmFormation | None":
    if given is None or given == "off":
        return None
    settings = TYPICAL_FILM if given == "typical" else given
    if not isinstance(settings, dict):
        raise UsageFailure(f'film_formation must be off, typical or a JSON such as {{"tube_kvp":120}}, got {given!r}')
    from xct_components.physics.film_formation import FilmFormation

    with _usage_errors():
        return FilmFormation.from_json(settings)


def _film_suffix(path: Path) -> str:
    name = path.name.lower()
    return next((suffix for suffix in FILM_SUFFIXES if name.endswith(suffix) and len(name) > len(suffix)), "")


def _free_target(target: Path, ct: Path, *, overwrite: bool) -> Path:
    """The output path, once it is clear that it can be written and that nothing is lost by it."""
    if not _film_suffix(target):
        raise UsageFailure(f"output must end in {', '.join(FILM_SUFFIXES)}, got {target.name!r}")
    require_folder_for(target)
    if target.exists():
        if target.is_dir() or (ct.exists() and (target.samefile(ct) or ct.resolve() in target.resolve().parents)):
            raise CannotWrite(f"cannot write {target}: it is a folder, or part of the CT; choose another name")
        if not overwrite:
            raise CannotWrite(f"{target} exists; choose another name, or add --overwrite")
    return target


def _require_one_of(name: str, value: str, known: Iterable[str]) -> None:
    if value not in known:
        raise UsageFailure(f"{name} must be one of {', '.join(known)}, got {value!r}")


@contextmanager
def _usage_errors() -> Iterator[None]:
    """What geometry and physics reject of the user's numbers is an error of usage."""
    try:
        yield
    except ValueError as error:
        raise UsageFailure(str(error)) from error


@contextmanager
def _stages() -> Iterator[Callable[[str], None]]:
    """A line on a terminal that says what is being done; it vanishes at the end, and in log files it never appears."""
    from tqdm import tqdm

    with tqdm(total=3, bar_format="{desc:>15} {bar:30} {elapsed}", leave=False, disable=None) as bar:

        def stage(name: str) -> None:
            bar.set_description_str(name, refresh=False)
            bar.update()

        yield stage
