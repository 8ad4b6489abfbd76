"""Whether a film's results are there already, from what their report.json says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from xct_components.batch.film_run import FilmRun
from xct_components.failures import CannotWrite
from xct_components.generated_files import FILES, REPORT_FILE, is_std


def finished_report(folder: Path, film: Path, run: FilmRun, weights: list[dict[str, str]]) -> dict[str, Any] | None:
    """The record of a result that this run would make again; None if there is none.

    Film bytes, geometry of a simulated film, settings, weights and version of the software must be the same, and all files of
    the run be there.

    Args:
        folder: of the film's results.
        film: the film.
        run: its settings.
        weights: as the loaded cascade knows them.
    """
    try:
        report: dict[str, Any] = json.loads((folder / REPORT_FILE).read_text(encoding="utf-8"))
        same = (
            all((folder / name).exists() for name in _files_of(run, folder, with_std=report["deviation"] is not None))
            and {name: report["settings"].get(name) for name in run.recorded} == run.recorded
            and [one["sha256"] for one in report["weights"]] == [one["sha256"] for one in weights]
            and report["software"] == _software()
            and _is_of(report["film"], film, run)
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return report if same else None


def require_replaceable(folder: Path, *, overwrite: bool) -> None:
    """Refuse a folder that holds something: unasked anything, and files of others always.

    Raises:
        CannotWrite: with the way out.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise CannotWrite(f"cannot replace {folder.name}: it is a file; choose another --output")
    others = sorted({path.name for path in folder.iterdir()} - {*FILES, REPORT_FILE})
    if others:
        raise CannotWrite(f"cannot replace {folder.name}: it holds {others[0]}, which no run wrote; choose another --output")
    if not overwrite:
        raise CannotWrite(
            f"{folder.name} holds results of another film, other settings, weights or version; add --overwrite, or choose "
            "another --output"
        )


def _files_of(run: FilmRun, folder: Path, *, with_std: bool) -> list[str]:
    """Names of what the run writes of a film, whose CT may have no standard deviation."""
    return [name for name in run.targets(folder, overwrite=True) if with_std or not is_std(name)]


def _software() -> str:
    from xct_components import __version__

    return f"xct-components {__version__}"


def _is_of(record: dict[str, Any], film: Path, run: FilmRun) -> bool:
    from xct_components.data.file_hash import file_sha256
    from xct_components.inferers.cascade_film import CALIBRATED
    from xct_components.inferers.simulated_geometry import geometry_facts, simulated_geometry

    geometry = simulated_geometry(film)
    facts = {"geometry_from": CALIBRATED} if geometry is None else geometry_facts(geometry, film)
    return (
        all(record[name] == value for name, value in facts.items())
        and record["view"]["user"] == (run.view.upper() if run.view else None)
        and (run.accept or not record["accepted_despite"])
        and record["file"]["sha256"] == file_sha256(film)
    )
