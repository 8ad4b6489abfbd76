"""The numbers that make one adult thorax."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from numbers import Real
from typing import Any, Literal

from xct_components.geometry.fields import required

#: Accepted range of every number: wider than ``draw_thorax`` draws, as narrow as the anatomy stays sound.
RANGES: dict[str, tuple[float, float]] = {
    "seed": (0.0, 2.0**48),
    "age_years": (18.0, 100.0),
    "height_cm": (140.0, 210.0),
    "bmi": (15.0, 50.0),
    "lung_capacity_ml": (2200.0, 9000.0),
    "chest_depth_ratio": (0.8, 1.25),
    "breath": (0.0, 1.0),
    "kyphosis_deg": (10.0, 85.0),
    "lateral_bend_mm": (-20.0, 20.0),
    "cardiothoracic_ratio": (0.35, 0.65),
    "diaphragm_difference_mm": (-10.0, 35.0),
    "blood_enhancement_hu": (0.0, 450.0),
    "lung_hu": (-930.0, -700.0),
    "trabecular_bone_hu": (20.0, 350.0),
    "right_effusion_ml": (0.0, 2000.0),
    "left_effusion_ml": (0.0, 2000.0),
    "nodule_count": (0.0, 20.0),
    "nodule_diameter_mm": (3.0, 40.0),
    "consolidation_fraction": (0.0, 0.4),
    "emphysema_fraction": (0.0, 0.6),
    "stomach_gas_ml": (0.0, 250.0),
    "noise_hu": (0.0, 200.0),
    "kernel_fwhm_mm": (0.3, 4.0),
}
_WHOLE = ("seed", "nodule_count")
_YES_OR_NO = ("upright", "arms_up")


@dataclass(frozen=True)
class ThoraxParameters:
    """One adult: who it is, how the chest stands, what is ill, and how it was scanned. ``seed`` fixes all detail.

    Args:
        seed: chooses what no other number says: branching, small asymmetries, sites of lesions, texture.
        sex: "female" or "male"; sets breasts, the share of muscle and fat, and the width of trachea and aorta.
        age_years: sets the width of the aorta and calcium in the rib cartilage.
        height_cm: makes the thorax long and narrow at an equal lung capacity.
        bmi: body mass index, kg/m^2; sets fat under the skin, around the heart and in the abdomen.
        lung_capacity_ml: air and tissue within both pleurae at full inspiration on a supine CT, without effusion.
        chest_depth_ratio: depth over width of the chest relative to the reference shape, 1 = average.
        breath: 0 = resting expiration, 1 = full inspiration.
        kyphosis_deg: Cobb angle T1-T12.
        lateral_bend_mm: how far the mid-thoracic spine lies to the right of the line from T1 to T12.
        cardiothoracic_ratio: width of the heart over the largest inner width of the chest at this breath.
        diaphragm_difference_mm: how much higher the right dome stands.
        upright: erect instead of supine: where gas and fluid collect, and which lung is denser.
        arms_up: arms raised beside the head (CT) or hanging.
        blood_enhancement_hu: contrast medium in the blood of the left heart, HU above plain blood.
        lung_hu: mean of the parenchyma at this breath, large vessels not counted.
        trabecular_bone_hu: inside of the vertebral bodies.
        right_effusion_ml: fluid in the right pleural space; likewise ``left_effusion_ml``.
        nodule_count: solid nodules in the lungs.
        nodule_diameter_mm: median diameter of the nodules.
        consolidation_fraction: airless share of one lung, in one patch with air bronchograms.
        emphysema_fraction: share of the lungs at -965 HU.
        stomach_gas_ml: gas under the left dome.
        noise_hu: standard deviation of the scanner's noise in a voxel of 1 mm^3.
        kernel_fwhm_mm: width of the scanner's point response.

    Raises:
        ValueError: for a number outside its ``RANGES``, or a word that is not listed.

    Example:
        >>> thorax = ThoraxParameters(seed=7, sex="female", bmi=24.0)
        >>> eval(repr(thorax)) == thorax == ThoraxParameters.from_json(thorax.to_json())
        True
    """

    seed: int = 0
    sex: Literal["female", "male"] = "male"
    age_years: float = 60.0
    height_cm: float = 172.0
    bmi: float = 26.0
    lung_capacity_ml: float = 5200.0
    chest_depth_ratio: float = 1.0
    breath: float = 1.0
    kyphosis_deg: float = 44.0
    lateral_bend_mm: float = 0.0
    cardiothoracic_ratio: float = 0.45
    diaphragm_difference_mm: float = 14.0
    upright: bool = False
    arms_up: bool = True
    blood_enhancement_hu: float = 0.0
    lung_hu: float = -865.0
    trabecular_bone_hu: float = 150.0
    right_effusion_ml: float = 0.0
    left_effusion_ml: float = 0.0
    nodule_count: int = 0
    nodule_diameter_mm: float = 10.0
    consolidation_fraction: float = 0.0
    emphysema_fraction: float = 0.0
    stomach_gas_ml: float = 60.0
    noise_hu: float = 25.0
    kernel_fwhm_mm: float = 1.2

    __no_type_check__ = True  # the constructor converts and checks its arguments itself, in words a user can act on

    def __post_init__(self) -> None:
        if self.sex not in ("female", "male"):
            raise ValueError(f'sex must be "female" or "male", got {self.sex!r}; it chooses the reference anatomy')
        for name in _YES_OR_NO:
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} must be True or False, got {getattr(self, name)!r}")
        for name, (low, high) in RANGES.items():
            object.__setattr__(self, name, _number(name, getattr(self, name), low, high))

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dictionary; ``from_json`` restores equal parameters."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> ThoraxParameters:
        """The parameters that ``to_json`` described."""
        return cls(*required(document, *(field.name for field in fields(cls))))


def _number(name: str, value: Any, low: float, high: float) -> float | int:
    if not _is_number(value) or not low <= value <= high:
        raise ValueError(f"{name} must lie within {low:g} to {high:g}, got {value!r}; draw_thorax gives adult values")
    if name in _WHOLE:
        if int(value) != value:
            raise ValueError(f"{name} must be a whole number, got {value!r}")
        return int(value)
    return float(value)


def _is_number(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, Real) and math.isfinite(float(value))
