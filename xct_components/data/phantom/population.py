"""Random adults: parameters drawn from published ranges."""

from __future__ import annotations

from typing import Any

import torch

from xct_components.data.phantom.parameters import RANGES, ThoraxParameters


def draw_thorax(generator: torch.Generator) -> ThoraxParameters:
    """A random adult as a chest CT archive would hold one; the sources are in docs/phantom.md."""
    dice = _Dice(generator)
    woman = dice.chance(0.5)
    age = dice.normal("age_years", 60.0, 14.0)
    height = dice.normal("height_cm", 163.0 if woman else 177.0, 6.8)
    bmi = dice.normal("bmi", 26.5, 4.6)
    breath = 1.0 - 0.9 * dice.uniform() ** 2.2
    contrast = dice.chance(0.45)
    return ThoraxParameters(
        seed=int(torch.randint(0, 2**31, (), generator=generator)),
        sex="female" if woman else "male",
        age_years=age,
        height_cm=height,
        bmi=bmi,
        lung_capacity_ml=dice.normal("lung_capacity_ml", *_lung_capacity_ml(woman, height, bmi)),
        chest_depth_ratio=dice.normal("chest_depth_ratio", 0.99 + 0.002 * (age - 60.0), 0.07),
        breath=breath,
        kyphosis_deg=dice.normal("kyphosis_deg", 42.0 + 0.25 * (age - 50.0), 9.3),
        lateral_bend_mm=dice.normal("lateral_bend_mm", 0.0, 4.0),
        cardiothoracic_ratio=dice.normal("cardiothoracic_ratio", 0.455 + 0.001 * (age - 60.0), 0.035),
        diaphragm_difference_mm=dice.normal("diaphragm_difference_mm", 14.0, 5.0),
        upright=dice.chance(0.3),
        arms_up=dice.chance(0.85),
        blood_enhancement_hu=60.0 + 200.0 * dice.uniform() if contrast else 0.0,
        lung_hu=dice.normal("lung_hu", -880.0 + 55.0 * (1.0 - breath), 18.0),
        trabecular_bone_hu=dice.normal("trabecular_bone_hu", 236.0 - 2.1 * max(0.0, age - 25.0), 34.0),
        **_illness(dice),
        stomach_gas_ml=120.0 * dice.uniform(),
        noise_hu=18.0 + 50.0 * dice.uniform() ** 2,
        kernel_fwhm_mm=0.8 + 1.0 * dice.uniform(),
    )


def _lung_capacity_ml(woman: bool, height_cm: float, bmi: float) -> tuple[float, float]:
    """Mean and deviation of the CT lung volume (Cheng, Int J COPD 2019;14:1657: 564 adults with normal lungs).

    The paper's +-1766 ml is read as its 95 % interval.
    """
    weight_kg = bmi * (height_cm / 100.0) ** 2
    mean = -10150.0 + 605.3 * (not woman) + 92.61 * height_cm - 12.99 * weight_kg
    return mean, 1766.0 / 1.96


def _illness(dice: _Dice) -> dict[str, Any]:
    """What is found on chest CTs besides the normal; shares chosen for training, not measured in a population."""
    effusion = [1000.0 * dice.uniform() ** 2 if dice.chance(0.10) else 0.0 for _ in range(2)]
    return {
        "right_effusion_ml": effusion[0],
        "left_effusion_ml": effusion[1],
        "nodule_count": int(1 + 4 * dice.uniform() ** 2) if dice.chance(0.4) else 0,
        "nodule_diameter_mm": 5.0 + 20.0 * dice.uniform() ** 2,
        "consolidation_fraction": 0.02 + 0.25 * dice.uniform() ** 2 if dice.chance(0.12) else 0.0,
        "emphysema_fraction": 0.02 + 0.35 * dice.uniform() ** 2 if dice.chance(0.25) else 0.0,
    }


class _Dice:
    """Random numbers from one generator, kept within the accepted ranges."""

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator

    def uniform(self) -> float:
        return float(torch.rand((), generator=self._generator, dtype=torch.float64))

    def chance(self, share: float) -> bool:
        return self.uniform() < share

    def normal(self, name: str, mean: float, deviation: float) -> float:
        """Normal, cut at two deviations and at the range of the parameter."""
        drawn = float(torch.randn((), generator=self._generator, dtype=torch.float64))
        low, high = RANGES[name]
        return min(high, max(low, mean + deviation * min(2.0, max(-2.0, drawn))))
