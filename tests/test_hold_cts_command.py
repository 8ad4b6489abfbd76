"""``xct hold-cts``: which CTs stage 1 bends to films afterwards, what stays as it was, and what is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from tests.evaluation.made_prepared import made_ct, write_prepared
from tests.inferers.tiny_stages import SIZES, network_def, write_bundles
from xct_components.__main__ import main
from xct_components.cascade import UnifiedHybridViTCascade
from xct_components.data.file_hash import file_sha256
from xct_components.evaluation.held_out_case import held_out_case
from xct_components.failures import ExitCode
from xct_components.networks.explained_volume import HIGHEST_HU, LOWEST_HU
from xct_components.networks.multi_atlas import BYTE_LOWEST_HU, BYTE_STEP_HU, MultiAtlas, as_held, hu_of_held, key_of
from xct_components.physics.consistency import NoConsistency


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prepared(tmp_path_factory.mktemp("prepared"))


@pytest.fixture
def bundles(tmp_path: Path) -> Path:
    """Two stages, the first with room for three CTs, none held; and what is known of their deviation."""
    folder = write_bundles(tmp_path / "bundles", count=2)
    config, weights = folder / "stage1" / "configs" / "inference.json", folder / "stage1" / "models" / "model.pt"
    config.write_text(json.dumps({"network_def": {**network_def(SIZES[0]), "atlas_cts": 3}}))
    empty = {f"multi_atlas.{name}": one for name, one in MultiAtlas(3, (SIZES[0],) * 3).state_dict().items()}
    torch.save(torch.load(weights, weights_only=True) | empty, weights)
    for file in (weights, folder / "stage2" / "models" / "model.pt"):
        described = {"sha256": file_sha256(file), "std_factors": [{"steps": 4, "factor": 2.0, "patients": 9}]}
        file.with_suffix(".json").write_text(json.dumps(described))
    return folder


def run(prepared: Path, bundles: Path, *options: str) -> int:
    return main(["hold-cts", str(prepared), "--bundles", str(bundles), *options])


def state(bundles: Path) -> dict[str, torch.Tensor]:
    loaded: dict[str, torch.Tensor] = torch.load(bundles / "stage1" / "models" / "model.pt", weights_only=True)
    return loaded


def test_stage_1_holds_the_training_cts_and_its_network_stays(prepared, bundles, capsys):
    before, sha256 = state(bundles), file_sha256(bundles / "stage1" / "models" / "model.pt")
    assert run(prepared, bundles) == ExitCode.OK
    assert "2 of 2 CTs held: train-a, train-b" in capsys.readouterr().out
    after = state(bundles)
    assert after["multi_atlas.key"].tolist() == [key_of("train-a"), key_of("train-b")]
    for held, marker_hu in zip(after["multi_atlas.ct"], (-300.0, 160.0), strict=False):
        own = held.float() * BYTE_STEP_HU + BYTE_LOWEST_HU
        assert float((own - made_ct(marker_hu, SIZES[0])[0]).abs().amax()) <= BYTE_STEP_HU / 2
    for name, tensor in before.items():
        if not name.startswith("multi_atlas."):
            torch.testing.assert_close(after[name].float(), tensor.float(), rtol=1e-3, atol=1e-6)  # written in half precision
    document = json.loads((bundles / "stage1" / "models" / "model.json").read_text())
    new = file_sha256(bundles / "stage1" / "models" / "model.pt")
    assert document == {"sha256": new, "network_of": sha256, "held_cts": 2, "network_share": 1.0}


def test_weights_hold_as_many_as_were_asked_for_whatever_the_configuration_says(prepared, bundles, capsys):
    assert run(prepared, bundles, "--most", "1") == ExitCode.OK
    assert "1 of 2 CTs held: train-a\n" in capsys.readouterr().out
    assert len(state(bundles)["multi_atlas.key"]) == 1
    config = json.loads((bundles / "stage1" / "configs" / "inference.json").read_text())
    assert config["network_def"]["atlas_cts"] == 3
    (stage,) = UnifiedHybridViTCascade.from_pretrained(bundles, stages=1).stages
    assert stage.multi_atlas is not None
    assert stage.multi_atlas.key.tolist() == [key_of("train-a")]


def test_stage_2_holds_the_detail_of_the_same_cts_and_of_no_others(prepared, bundles, capsys):
    config, weights = bundles / "stage2" / "configs" / "inference.json", bundles / "stage2" / "models" / "model.pt"
    config.write_text(json.dumps({"network_def": network_def(SIZES[1], needs_coarse=True, detail_step_hu=10.0)}))
    before = torch.load(weights, weights_only=True)
    assert run(prepared, bundles) == ExitCode.OK
    assert "stage 2: detail of 2 CTs" in capsys.readouterr().out
    first, second = UnifiedHybridViTCascade.from_pretrained(bundles, stages=2).stages
    assert first.multi_atlas is not None
    assert second.detail is not None
    assert second.detail.key.tolist() == first.multi_atlas.key.tolist() == [key_of("train-a"), key_of("train-b")]
    for name, marker_hu in (("train-a", -300.0), ("train-b", 160.0)):
        detail, ct_hu = second.detail.of(key_of(name)), made_ct(marker_hu, SIZES[1])[0]
        assert detail is not None
        coarse = F.interpolate(hu_of_held(as_held(ct_hu.float(), (SIZES[0],) * 3)), size=ct_hu.shape[2:], mode="trilinear")
        # less than a step counts as noise, and NIfTI holds whole HU
        assert float((coarse + detail - ct_hu).abs().amax()) <= 10.0 + 1.0
    after = torch.load(weights, weights_only=True)
    for name, tensor in before.items():
        torch.testing.assert_close(after[name].float(), tensor.float(), rtol=1e-3, atol=1e-6)  # written in half precision
    document = json.loads(weights.with_suffix(".json").read_text())
    assert (document["sha256"], document["detail_of_cts"], "std_factors" in document) == (file_sha256(weights), 2, False)
    assert run(prepared, bundles, "--without", "train-a", "--detail", "False") == ExitCode.OK
    assert "stage 2: detail of 0 CTs" in capsys.readouterr().out
    assert len(torch.load(weights, weights_only=True)["detail.packed"]) == 0


def test_later_stages_forget_factors_that_were_measured_with_other_cts(prepared, bundles):
    second = bundles / "stage2" / "models"
    assert run(prepared, bundles) == ExitCode.OK
    assert json.loads((second / "model.json").read_text()) == {"sha256": file_sha256(second / "model.pt")}


def test_a_later_stage_whose_parent_lies_elsewhere_forgets_them_too(prepared, bundles):
    (bundles / "stage2").rename(bundles / "stage3")
    third = bundles / "stage3" / "models"
    assert run(prepared, bundles) == ExitCode.OK
    assert json.loads((third / "model.json").read_text()) == {"sha256": file_sha256(third / "model.pt")}


def test_a_film_is_answered_with_the_held_cts_from_then_on(prepared, bundles):
    plain = UnifiedHybridViTCascade.from_pretrained(bundles, stages=1)
    case = held_out_case(prepared, "val", "held-out", plain.stages, lateral=False)
    truth = case.truth_hu[SIZES[0]][0]
    before = plain.generate(case.film, 1).volume
    assert run(prepared, bundles, "--without", "train-a") == ExitCode.OK  # train-b is nearly the patient himself
    after = UnifiedHybridViTCascade.from_pretrained(bundles, stages=1).generate(case.film, 1).volume
    errors = [float((volume.as_tensor() - truth).square().mean().sqrt()) for volume in (before, after)]
    assert errors[1] < errors[0]


def test_half_of_the_network_is_half_of_what_it_adds(prepared, bundles):
    added = []
    for share in ("1.0", "0.5"):
        # without the CT that is the held-out one but for less than a step
        assert run(prepared, bundles, "--network_share", share, "--without", "train-b") == ExitCode.OK
        (stage,) = UnifiedHybridViTCascade.from_pretrained(bundles, stages=1).stages
        case = held_out_case(prepared, "val", "held-out", [stage], lateral=False)
        films, fields, beams = case.film.line_integrals, [case.fields[SIZES[0]]], [list(case.film.beams)]
        with torch.no_grad():
            prior_hu = stage.prior_hu(films, fields, beams, [NoConsistency()])
            predicted = stage.predicted_hu(stage.condition(films, fields, beams, prior_hu))
        added.append(torch.where((predicted > LOWEST_HU) & (predicted < HIGHEST_HU), predicted - prior_hu, torch.nan))
    inside = ~(added[0] + added[1]).isnan()
    assert float(inside.float().mean()) > 0.5
    torch.testing.assert_close(2.0 * added[1][inside], added[0][inside], rtol=1e-3, atol=1e-2)  # float32 of 1000 HU


def test_a_dry_run_says_the_same_and_writes_nothing(prepared, bundles, capsys):
    before = file_sha256(bundles / "stage1" / "models" / "model.pt")
    assert run(prepared, bundles, "--dry_run", "True") == ExitCode.OK
    assert capsys.readouterr().out == "2 of 2 CTs held: train-a, train-b\n"
    assert file_sha256(bundles / "stage1" / "models" / "model.pt") == before


REFUSED = {
    "side without cases": (["--side", "test"], ExitCode.USAGE, "side test"),
    "no such case": (["--without", "nobody"], ExitCode.USAGE, "without names no case of this side: nobody"),
    "none to hold": (["--most", "0"], ExitCode.USAGE, "most must lie between 1 and"),
    "no share": (["--network_share", "1.5"], ExitCode.USAGE, "network_share must lie between 0 and 1"),
    "nobody left": (["--without", "train-a,train-b"], ExitCode.USAGE, "leave one"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_meant_is_one_line_and_writes_nothing(what, prepared, bundles, capsys):
    options, code, words = REFUSED[what]
    before = file_sha256(bundles / "stage1" / "models" / "model.pt")
    assert run(prepared, bundles, *options) == code
    complaint = capsys.readouterr().err
    assert words in complaint
    assert complaint.count("\n") == 1
    assert file_sha256(bundles / "stage1" / "models" / "model.pt") == before


def test_a_stage_without_room_for_cts_is_refused(prepared, tmp_path, capsys):
    assert run(prepared, write_bundles(tmp_path / "plain", count=1)) == ExitCode.USAGE
    assert "atlas_cts is 0" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_told_of(prepared, bundles, capsys):
    models = bundles / "stage1" / "models"
    models.chmod(0o555)
    if os.access(models, os.W_OK):
        pytest.skip("this user may write anywhere")
    try:
        code = run(prepared, bundles)
    finally:
        models.chmod(0o755)
    assert code == ExitCode.CANNOT_WRITE
    assert "add --dry_run" in capsys.readouterr().err
