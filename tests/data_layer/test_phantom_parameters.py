"""The parameters of a thorax: what is accepted, what is drawn, and how they travel."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest
import torch

from xct_components.data.phantom import ThoraxParameters, draw_thorax
from xct_components.data.phantom.parameters import RANGES

DRAWN = 300
# Standard error of a mean of 300 draws is below a fifteenth of the spread; three of them, and the cut at the ranges.
MEAN_TOLERANCE = 0.2
# Published means beside the drawn ones: BMI and age are those of our own choice and not tested.
KYPHOSIS_DEG, KYPHOSIS_SD_DEG = 45.0, 9.3
CT_LUNG_ML, CT_LUNG_SD_ML = 4468.0, 1271.0


@pytest.fixture(scope="module")
def people() -> list[ThoraxParameters]:
    generator = torch.Generator().manual_seed(0)
    return [draw_thorax(generator) for _ in range(DRAWN)]


def test_a_repr_is_code_that_makes_the_same_parameters(people):
    assert all(eval(repr(person)) == person for person in people[:20])


def test_json_restores_equal_parameters(people):
    assert all(ThoraxParameters.from_json(json.loads(json.dumps(person.to_json()))) == person for person in people[:20])


def test_one_seed_draws_one_person():
    first, second = (draw_thorax(torch.Generator().manual_seed(5)) for _ in range(2))
    assert first == second
    assert first != draw_thorax(torch.Generator().manual_seed(6))


def test_every_number_has_a_range_and_every_range_a_number():
    numbers = {field.name for field in fields(ThoraxParameters)} - {"sex", "upright", "arms_up"}
    assert numbers == set(RANGES)


def test_people_of_both_sexes_and_postures_are_drawn(people):
    assert {person.sex for person in people} == {"female", "male"}
    assert {person.upright for person in people} == {person.arms_up for person in people} == {True, False}


def test_healthy_and_ill_people_are_drawn(people):
    for name in ("right_effusion_ml", "nodule_count", "consolidation_fraction", "emphysema_fraction", "blood_enhancement_hu"):
        ill = sum(getattr(person, name) > 0 for person in people)
        assert 0 < ill < DRAWN


@pytest.mark.parametrize(
    ("name", "mean", "deviation"),
    [("kyphosis_deg", KYPHOSIS_DEG, KYPHOSIS_SD_DEG), ("lung_capacity_ml", CT_LUNG_ML + 300.0, CT_LUNG_SD_ML)],
)
def test_the_mean_of_the_drawn_people_is_the_published_one(people, name, mean, deviation):
    drawn = torch.tensor([getattr(person, name) for person in people])
    assert abs(float(drawn.mean()) - mean) < MEAN_TOLERANCE * deviation + 0.05 * mean


def test_taller_people_have_larger_lungs(people):
    table = torch.tensor([[person.height_cm, person.lung_capacity_ml] for person in people]).T
    assert float(torch.corrcoef(table)[0, 1]) > 0.5


@pytest.mark.parametrize("name", RANGES)
def test_a_number_outside_its_range_is_refused_with_its_name(name: Any):
    low, high = RANGES[name]
    wrong_values: list[Any] = [low - 1, high + 1, float("nan"), "many", True]
    for wrong in wrong_values:
        change: dict[str, Any] = {name: wrong}
        with pytest.raises(ValueError, match=f"{name} must lie within"):
            replace(ThoraxParameters(), **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sex": "unknown"}, 'sex must be "female" or "male"'),
        ({"upright": 1}, "upright must be True or False"),
        ({"arms_up": "yes"}, "arms_up must be True or False"),
        ({"nodule_count": 1.5}, "nodule_count must be a whole number"),
    ],
)
def test_a_wrong_word_is_refused_with_its_name(change, message):
    with pytest.raises(ValueError, match=message):
        replace(ThoraxParameters(), **change)


def test_a_document_without_a_field_is_refused():
    document = ThoraxParameters().to_json()
    del document["breath"]
    with pytest.raises(ValueError, match="breath"):
        ThoraxParameters.from_json(document)
