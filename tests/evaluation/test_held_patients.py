"""Patients whose own CTs the weights hold: judged as if they were not held, and named; no factor is measured on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.evaluation.made_prepared import made_ct, write_prepared
from tests.inferers.tiny_stages import SIZES, chest_hu, held_voxels_mm, tiny_stage, write_bundles
from xct_components.__main__ import main
from xct_components.evaluate_command import evaluate
from xct_components.evaluation.held_out_case import held_out_case
from xct_components.evaluation.held_patients import held_cases
from xct_components.failures import ExitCode, RefusedInput
from xct_components.geometry import VolumeGrid
from xct_components.networks.cascade_stage import CascadeStage

OWN, OTHERS = "held-out", 2
#: Half a step of a held CT and more: prepared again, rounded otherwise.
ROUNDED_HU = 6.0


def own_hu() -> Tensor:
    return made_ct(150.0, SIZES[0])[0].float()


def others() -> list[tuple[str, Tensor]]:
    """The chests that a tiny stage holds anyway."""
    return [(f"in {mm} mm", chest_hu(VolumeGrid.chest((32, 32, 32), mm), marker=False)) for mm in held_voxels_mm(OTHERS)]


def hold(stage: CascadeStage, named_hu: list[tuple[str, Tensor]]) -> CascadeStage:
    assert stage.multi_atlas is not None
    stage.multi_atlas.make_room(len(named_hu))
    stage.multi_atlas.measure(named_hu)
    return stage


def bundles_that_hold(folder: Path, named_hu: list[tuple[str, Tensor]]) -> Path:
    """Two stages with the weights of all others here; the first holds these CTs."""
    write_bundles(folder, count=2, atlas_cts=OTHERS)
    torch.save(hold(tiny_stage(atlas_cts=OTHERS), named_hu).state_dict(), folder / "stage1" / "models" / "model.pt")
    return folder


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prepared(tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="module")
def knowing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundles_that_hold(tmp_path_factory.mktemp("knowing"), [*others(), (OWN, own_hu())])


@pytest.fixture(scope="module")
def results(
    prepared: Path, knowing: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[dict[str, Any], list[str], str]]:
    """What is written of weights that hold the patient's CT, and of those that hold only the others: record, lines, page."""
    folders = {"knowing": knowing, "honest": bundles_that_hold(tmp_path_factory.mktemp("honest"), others())}
    found = {}
    for name, bundles in folders.items():
        output = tmp_path_factory.mktemp(name) / "out"
        lines = evaluate(str(prepared), output=str(output), stages=2, samples=2, steps=2, bundles=str(bundles))
        record = json.loads((output / "evaluation.json").read_text())
        found[name] = record, lines, (output / "evaluation.html").read_text()
    return found


def test_weights_that_hold_the_patients_own_ct_score_as_those_that_hold_only_the_others(results):
    (knowing, _, _), (honest, _, _) = results["knowing"], results["honest"]
    assert {row["method"] for row in honest["rows"]} >= {"CTs bent to the film + consistency", "stage 2, mean of 2"}
    assert knowing["rows"] == honest["rows"]


def test_the_patient_would_get_his_own_ct_back_if_nobody_said_whose_film_it_is(prepared, knowing):
    """The other half of the sentence above: what is left out would have told."""
    stage = hold(tiny_stage(atlas_cts=OTHERS), [*others(), (OWN, own_hu())])
    case = held_out_case(prepared, "val", OWN, [stage], lateral=False)
    assert stage.multi_atlas is not None
    size, film = stage.field.shape[0], case.film
    arguments = stage.atlas.mu_per_mm(stage.field.shape), film.line_integrals[0], case.fields[size], film.beams, film.believed
    counts = [
        0 if bent is None else bent.patients
        for bent in (stage.multi_atlas.bent(*arguments, who) for who in (None, film.without))
    ]
    assert counts == [OTHERS + 1, OTHERS]


def test_record_page_and_terminal_name_him_and_say_that_he_is_not_held_out(results):
    record, lines, page = results["knowing"]
    assert record["held_by_the_weights"]["cases"] == [OWN]
    for text in (record["held_by_the_weights"]["note"], lines[0], page):
        assert "his own CT was left out" in text
        assert "not held out" in text
    assert lines[0].startswith(f"{OWN}: ")
    assert f"<h3>{OWN}, 16, held by the weights</h3>" in page
    assert "1 of them not held out" in page


def test_nobody_is_named_where_nobody_is_held(results):
    record, lines, page = results["honest"]
    assert record["held_by_the_weights"] == {"cases": [], "note": ""}
    assert "Held-out CTs: 1 patient<" in page
    assert "held by the weights" not in page + "".join(lines)


def test_a_patient_whose_detail_alone_is_held_is_named_too():
    stages = [tiny_stage(), tiny_stage(32, needs_coarse=True, detail_step_hu=10.0)]
    assert stages[1].detail is not None
    stages[1].detail.measure([(OWN, made_ct(150.0, 32)[0])])
    assert held_cases(stages, ["train-a", OWN]) == [OWN]


@pytest.mark.parametrize("change_hu", [0.0, ROUNDED_HU])
def test_a_patient_whose_ct_is_held_under_another_name_is_refused(prepared, change_hu):
    stage = hold(tiny_stage(atlas_cts=OTHERS), [*others(), ("somebody", own_hu() + change_hu)])
    with pytest.raises(RefusedInput, match="held-out: stage 1 holds this very CT under another name"):
        held_out_case(prepared, "val", OWN, [stage], lateral=False)


def test_no_factor_is_measured_on_a_patient_that_the_weights_hold(prepared, knowing, capsys):
    code = main(["calibrate-deviation", str(prepared), "--bundles", str(knowing), "--stages", "2"])
    assert code == ExitCode.REFUSED
    complaint = capsys.readouterr().err
    assert "the weights hold the CTs of held-out" in complaint
    assert "--split_list" in complaint
    assert not list(knowing.rglob("model.json"))
