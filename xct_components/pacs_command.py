"""``xct pacs``: a study of a PACS or a folder in, a synthetic CT series in the PACS out. One command."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from xct_components.dicom.elements import SYNTHETIC
from xct_components.failures import Failure
from xct_components.generated_files import DICOM_FOLDER, DICOM_STD_FILE

#: What the extra [pacs] brings.
_LIBRARIES = ("dicomweb_client", "pynetdicom")


def pacs(  # noqa: PLR0913 - each argument is an option of the command line
    *,
    from_: str,
    to: str,
    study: str | None = None,
    accession: str | None = None,
    series: str | None = None,
    instance: int = 0,
    lateral: bool = False,
    lateral_instance: int = 0,
    output: str | None = None,
    stages: int = 3,
    samples: int = 1,
    steps: int = 4,
    mode: str = "mean",
    std: bool = False,
    seed: int = 0,
    full_size: bool = False,
    bundles: str | None = None,
    device: str = "cpu",
    view: str | None = None,
    accept: bool = False,
    pixel_mm: float | tuple[float, float] | None = None,
    lateral_pixel_mm: float | tuple[float, float] | None = None,
    overwrite: bool = False,
    calling: str = "XCT",
    allow_http: bool = False,
) -> list[str]:
    """Make a CT of a chest film of a PACS or a folder, stored in the film's study. Synthetic: research only, not for diagnosis.

    Credentials come from the environment (XCT_PACS_USER and XCT_PACS_PASSWORD, or XCT_PACS_TOKEN) or ~/.netrc, certificates of
    your own authority from XCT_PACS_CA_BUNDLE. Every run stores a new series: its UIDs are new.

    Args:
        from_: DICOMweb URL of the PACS that has the film, or a folder of DICOM files (of a CD, or an export) of this machine.
        to: where the series goes: a DICOMweb URL, dicom://AETITLE@host:port for C-STORE, or dicoms:// for C-STORE over TLS.
        study: StudyInstanceUID; a folder may do without, if its films are of one study.
        accession: accession number, instead of the UID.
        series: SeriesInstanceUID, if only its films are meant.
        instance: number of the frontal film, if the study has several; the refusal lists them (default - the only one).
        lateral: use the lateral film of the study too.
        lateral_instance: its number, if there are several.
        output: folder that keeps dicom, preview.png and report.json; otherwise nothing stays on this machine.
        stages: as for xct generate, like all below down to overwrite.
        samples: as for xct generate; from two on the standard deviation is stored in any case.
        steps: network evaluations of a sample.
        mode: mean or sample.
        std: store the standard deviation too, as a Parametric Map, which some PACS do not take.
        seed: of the noise.
        full_size: 512 x 604 x 512 voxels.
        bundles: folder with stage1, stage2 and stage3.
        device: cpu, cuda, cuda:1.
        view: PA or AP, if you have seen that it is an upright frontal film.
        accept: take the film whatever speaks against it.
        pixel_mm: of the film on the detector, if its file does not say it, or wrongly.
        lateral_pixel_mm: the same for the lateral film.
        overwrite: replace files of the output folder.
        calling: our own AE title, for C-STORE.
        allow_http: plain http to other machines than this one.

    Returns:
        What was stored, and where.
    """
    _require_libraries()
    from xct_components.generate_command import generate
    from xct_components.pacs.film_source import film_source
    from xct_components.pacs.private_folder import private_folder
    from xct_components.pacs.series_target import series_target

    source = film_source(from_, study=study, accession=accession, series=series, allow_http=allow_http)
    target = series_target(to, source.address, calling=calling, allow_http=allow_http)
    with private_folder() as folder:
        with _bar("fetching the film"):
            frontal, second = source.fetch(folder, instance=instance, lateral=lateral, lateral_instance=lateral_instance)
            target.require_ready()
        result = Path(output) if output else folder / "result"
        generate(
            str(frontal),
            output=str(result),
            format="dicom,png" if output else "dicom",
            lateral=str(second) if second else None,
            stages=stages,
            samples=samples,
            steps=steps,
            mode=mode,
            std=std or samples > 1,
            seed=seed,
            full_size=full_size,
            bundles=bundles,
            device=device,
            view=view,
            accept=accept,
            pixel_mm=pixel_mm,
            lateral_pixel_mm=lateral_pixel_mm,
            overwrite=overwrite,
        )
        images = _images(result)
        with _bar("storing", len(images)) as bar:
            target.store(images, bar.update)
    kept = [f"kept in {result}"] if output else []
    return [f"stored {len(images)} images of {SYNTHETIC!r} in the film's study at {target.address.host}", *kept]


def _require_libraries() -> None:
    for library in _LIBRARIES:
        if find_spec(library) is None:
            raise Failure(f"xct pacs needs {library}: pip install 'xct-components[pacs]'")


def _images(result: Path) -> list[Path]:
    """The series, head first, then the map if there is one."""
    slices, map_ = sorted((result / DICOM_FOLDER).glob("IM*.dcm")), result / DICOM_STD_FILE
    return [*slices, *([map_] if map_.exists() else [])]


@contextmanager
def _bar(name: str, total: int = 1) -> Iterator[Any]:
    """A bar on a terminal, nothing in log files; ``xct generate`` shows its own between two of these."""
    from tqdm import tqdm

    with tqdm(total=total, bar_format="{desc:>17} {bar:30} {elapsed}", leave=False, disable=None) as bar:
        bar.set_description_str(name)
        yield bar
