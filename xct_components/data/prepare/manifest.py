"""The index of a prepared folder: ``manifest.json`` to train from, ``sources.json`` to find the originals again.

The manifest holds no path and no identifier of DICOM, only fingerprints (and the names that volume files had). sources.json
holds paths below the input, hence whatever people wrote into folder names: keep it private.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xct_components import __version__
from xct_components.data.atomic_files import written_together
from xct_components.data.ct.discovery import FoundCts
from xct_components.data.prepare.chest_grid import FIELD_MM
from xct_components.data.prepare.patient_split import SIDES, listed_split, patient_groups, seeded_split
from xct_components.data.prepare.prepared_files import read_failure, read_record

SCHEMA, SCHEMA_VERSION = "xct-prepared-cts", 1
MANIFEST, SOURCES = "manifest.json", "sources.json"


def write_manifest(
    output: Path, found: FoundCts, request: Mapping[str, Any], split: Mapping[str, Any], listed: Mapping[str, str] | None
) -> dict[str, Any]:
    """Assemble manifest and sources from the records of the cases; the same records give the same bytes.

    Several processes may do so at the end of their share: each looks again after writing, so the last sees everything.

    Args:
        output: the prepared folder.
        found: what the input holds.
        request: settings with which every case was prepared.
        split: "seed", "val_share" and "test_share".
        listed: side of each name in the user's list, which then replaces the seed.

    Returns:
        The manifest.

    Raises:
        UsageFailure: if the list puts a patient on two sides.
    """
    while True:
        records, failures = _records(output, found, request)
        manifest = _manifest(found, records, request, split, listed)
        sources = {
            "notice": "Paths may name patients. Keep this file private.",
            "cases": {source.case: source.below_input for source in found.sources},
            "failed": {case: failure["reason"] for case, failure in failures.items()},
            "ignored": [{"path": path, "reason": reason} for path, reason in found.ignored],
        }
        _write(output, manifest, sources)
        if _records(output, found, request) == (records, failures):
            return manifest


def side_of_cases(
    patients: Mapping[str, str], fingerprints: Mapping[str, str], split: Mapping[str, Any], listed: Mapping[str, str] | None
) -> dict[str, str | None]:
    """The side of every case that has a fingerprint; None if the list does not name its patient."""
    groups = patient_groups(patients, fingerprints)
    if listed is not None:
        sides = listed_split(patients, groups, listed)
    else:
        used = [groups[patients[case]] for case in fingerprints]
        sides = seeded_split(used, split["seed"], split["val_share"], split["test_share"])
    return {case: sides.get(groups[patients[case]]) for case in fingerprints}


def _records(output: Path, found: FoundCts, request: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    records, failures = {}, {}
    for source in found.sources:
        record = read_record(output, source.case)
        if record is not None and record["request"] == request:
            records[source.case] = record
        elif (failure := read_failure(output, source.case)) is not None:
            failures[source.case] = failure
    return records, failures


def _manifest(
    found: FoundCts,
    records: Mapping[str, Any],
    request: Mapping[str, Any],
    split: Mapping[str, Any],
    listed: Mapping[str, str] | None,
) -> dict[str, Any]:
    patients = {source.case: source.patient for source in found.sources}
    fingerprints = {case: record["voxels_sha256"] for case, record in records.items()}
    sides = side_of_cases(patients, fingerprints, split, listed)
    cases = [{**{k: v for k, v in record.items() if k != "request"}, "split": sides[case]} for case, record in records.items()]
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "software": f"xct-components {__version__}",
        "field_mm": FIELD_MM,
        "orientation": "PIL: axes anterior-posterior, superior-inferior, right-left; affines in RAS mm of the CT's world",
        "request": dict(request),
        "split": {"from": "list"} if listed is not None else {"from": "seed", **split},
        "sides": {side: [case for case in records if sides[case] == side] for side in SIDES},
        "cases": cases,
        "missing": [source.case for source in found.sources if source.case not in records],
    }


def _write(output: Path, manifest: Mapping[str, Any], sources: Mapping[str, Any]) -> None:
    with written_together(output / MANIFEST, output / SOURCES) as drafts:
        for draft, document in zip(drafts, (manifest, sources), strict=True):
            draft.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
