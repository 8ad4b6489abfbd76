"""Which patient trains, validates or tests: seeded or from a list, and never on two sides."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from xct_components.failures import UnreadableInput, UsageFailure, first_line

SIDES = ("train", "val", "test")


def seeded_split(groups: Sequence[str], seed: int, val_share: float, test_share: float) -> dict[str, str]:
    """The side of every group of patients, by the order of SHA-256(seed, group): the same on every machine.

    Args:
        groups: names, any order.
        seed: another seed gives another order.
        val_share: share of the groups that validate; at least one of three or more groups, unless the share is 0.
        test_share: likewise for the test.

    Raises:
        UsageFailure: if the shares are negative or leave nothing to train on.
    """
    if val_share < 0.0 or test_share < 0.0 or val_share + test_share >= 1.0:
        raise UsageFailure(f"val_share and test_share must be >= 0 and add up to less than 1, got {val_share}, {test_share}")
    ordered = sorted(set(groups), key=lambda group: hashlib.sha256(f"{seed}:{group}".encode()).hexdigest())
    sizes = [round(share * len(ordered)) for share in (test_share, val_share)]
    if len(ordered) >= 3:
        sizes = [max(size, int(share > 0.0)) for size, share in zip(sizes, (test_share, val_share), strict=True)]
    test, val = sizes
    return {group: "test" if i < test else "val" if i < test + val else "train" for i, group in enumerate(ordered)}


def read_split_list(path: Path) -> dict[str, str]:
    """The side of every name in ``{"train": [names], "val": [names], "test": [names]}``.

    Raises:
        UnreadableInput: if the file is missing or no JSON.
        UsageFailure: if it has another form, or a name stands on two sides.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UnreadableInput(f"the split list {path.name} cannot be read: {first_line(error)}") from error
    if not isinstance(document, dict) or not set(document) <= set(SIDES):
        raise UsageFailure(f'the split list must be a JSON object with "train", "val" and "test", got {path.name}')
    sides: dict[str, str] = {}
    for side, names in document.items():
        if not isinstance(names, list):
            raise UsageFailure(f"the split list must give a list of names for {side}, got {names!r}")
        for name in map(str, names):
            if sides.setdefault(name, side) != side:
                raise UsageFailure(f"the split list puts {name} into {sides[name]} and {side}; keep one")
    return sides


def listed_split(patients: Mapping[str, str], groups: Mapping[str, str], listed: Mapping[str, str]) -> dict[str, str]:
    """The side of each group from a list that names patients or cases; groups that it does not name have none.

    Args:
        patients: patient of every case.
        groups: group of every patient.
        listed: side of every name in the list.

    Raises:
        UsageFailure: if a name is unknown, or a group of patients stands on two sides.
    """
    unknown = sorted(set(listed) - set(patients) - set(patients.values()))
    if unknown:
        raise UsageFailure(f"the split list names {', '.join(unknown[:5])}, of which there is no patient and no case here")
    sides: dict[str, tuple[str, str]] = {}
    for case, patient in sorted(patients.items()):
        for name in (patient, case):
            if name in listed:
                before, side = sides.setdefault(groups[patient], (name, listed[name]))
                if side != listed[name]:
                    raise UsageFailure(
                        f"the split list puts the same patient on two sides: {before} into {side}, {name} into {listed[name]}"
                    )
    return {group: side for group, (_, side) in sides.items()}


def patient_groups(patients: Mapping[str, str], fingerprints: Mapping[str, str]) -> dict[str, str]:
    """Group of every patient: patients that share a CT, voxel for voxel, are one, whatever they are called.

    Args:
        patients: patient of every case.
        fingerprints: of the voxels of a case, where they are known.
    """
    group = {patient: patient for patient in patients.values()}
    first: dict[str, str] = {}
    for case, fingerprint in sorted(fingerprints.items()):
        same = group[first.setdefault(fingerprint, patients[case])]
        merged = group[patients[case]]
        low = min(same, merged)
        group = {patient: low if name in (same, merged) else name for patient, name in group.items()}
    return group
