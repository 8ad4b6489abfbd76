"""A patient is on one side, and the same one on every machine."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xct_components.data.prepare.patient_split import listed_split, patient_groups, read_split_list, seeded_split
from xct_components.failures import UnreadableInput, UsageFailure


@given(st.sets(st.text(min_size=1, max_size=6), min_size=3, max_size=40), st.integers(0, 99))
def test_every_group_has_a_side_and_every_side_somebody(groups, seed):
    sides = seeded_split(sorted(groups), seed, 0.1, 0.2)
    assert set(sides) == groups
    assert set(sides.values()) == {"train", "val", "test"}
    assert sides == seeded_split(sorted(groups, reverse=True), seed, 0.1, 0.2)


def test_a_new_patient_leaves_the_order_of_the_others():
    few = [f"patient {i}" for i in range(50)]
    before, after = seeded_split(few, 3, 0.1, 0.1), seeded_split([*few, "one more"], 3, 0.1, 0.1)
    assert sum(before[name] != after[name] for name in few) <= 2


def test_another_seed_gives_another_split():
    names = [f"patient {i}" for i in range(50)]
    assert seeded_split(names, 0, 0.2, 0.2) != seeded_split(names, 1, 0.2, 0.2)


@pytest.mark.parametrize("shares", [(0.6, 0.5), (-0.1, 0.1), (0.5, 0.5)])
def test_shares_that_leave_nothing_are_refused(shares):
    with pytest.raises(UsageFailure, match="val_share and test_share"):
        seeded_split(["a", "b"], 0, *shares)


def test_patients_that_share_a_ct_are_one_group():
    patients = {"1": "a", "2": "b", "3": "c", "4": "c", "5": "d"}
    groups = patient_groups(patients, {"1": "x", "2": "y", "3": "x", "4": "y", "5": "z"})
    assert groups == {"a": "a", "b": "a", "c": "a", "d": "d"}


def test_a_list_may_name_patients_or_cases():
    patients = {"1": "a", "2": "b", "3": "c"}
    groups = patient_groups(patients, {})
    assert listed_split(patients, groups, {"a": "train", "2": "test"}) == {"a": "train", "b": "test"}


@pytest.mark.parametrize(
    ("listed", "why"),
    [
        ({"1": "train", "2": "test"}, "same patient on two sides"),
        ({"a": "val", "2": "test"}, "two sides"),
        ({"z": "val"}, "names z"),
    ],
)
def test_a_list_that_cannot_be_meant_is_refused(listed, why):
    patients = {"1": "a", "2": "a", "3": "b"}
    with pytest.raises(UsageFailure, match=why):
        listed_split(patients, patient_groups(patients, {}), listed)


def test_copies_of_a_ct_under_two_names_cannot_be_put_on_two_sides():
    patients = {"1": "a", "2": "b"}
    with pytest.raises(UsageFailure, match="same patient on two sides"):
        listed_split(patients, patient_groups(patients, {"1": "same", "2": "same"}), {"a": "train", "b": "test"})


@pytest.mark.parametrize(
    ("text", "error", "why"),
    [
        ("no json", UnreadableInput, "cannot be read"),
        ("[]", UsageFailure, "must be a JSON object"),
        ('{"training": []}', UsageFailure, "must be a JSON object"),
        ('{"train": "a"}', UsageFailure, "a list of names"),
        ('{"train": ["a"], "test": ["a"]}', UsageFailure, "puts a into train and test"),
    ],
)
def test_a_damaged_list_is_refused(text, error, why, tmp_path):
    path = tmp_path / "split.json"
    path.write_text(text)
    with pytest.raises(error, match=why):
        read_split_list(path)


def test_a_list_is_read(tmp_path):
    path = tmp_path / "split.json"
    path.write_text(json.dumps({"train": ["a", 2], "test": ["b"]}))
    assert read_split_list(path) == {"a": "train", "2": "train", "b": "test"}
