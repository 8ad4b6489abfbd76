"""What a result says of its own uncertainty in a few words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from tests.report_page.results import result

#: Longest LO of DICOM (PS3.5 6.2): the title explains the values of the Parametric Map.
MOST_CHARACTERS = 64


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"bent_cts": 8, "samples": 0, "factor": 0.98, "patients": 10}, "standard deviation of 8 bent CTs x 0.98"),
        ({"bent_cts": 0, "samples": 4, "factor": 1.0, "patients": 0}, "standard deviation of 4 samples, uncalibrated"),
        (
            {"bent_cts": 16, "samples": 1000, "factor": 1.0, "patients": 0},
            "standard deviation of 16 bent CTs and 1000 samples, uncalibrated",
        ),
    ],
)
def test_the_title_says_what_told_the_deviation_and_fits_into_dicom(told: dict[str, Any], expected: str) -> None:
    ct = result(with_std=True)
    title = replace(ct, record={**ct.record, "deviation": told}).std_title
    assert title == expected
    assert len(title) <= MOST_CHARACTERS


def test_the_typical_deviation_is_that_of_the_patient_not_of_the_air_around() -> None:
    ct = result(with_std=True)
    assert ct.std is not None
    inside = np.asarray(ct.volume) > -950.0
    ranked = np.sort(np.asarray(ct.std)[inside])
    assert ct.typical_std_hu == ranked[(len(ranked) - 1) // 2]
    air = torch.from_numpy(~inside)
    shifted = replace(ct, std=MetaTensor(ct.std.as_tensor() + 1000.0 * air, affine=ct.std.affine))
    assert shifted.typical_std_hu == ct.typical_std_hu
    assert result().typical_std_hu is None
