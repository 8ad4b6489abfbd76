"""Starts that are kept: those made anew but for rounding, found again for the same case alone, and while their makers stay."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.networks.small_stages import small_stage
from tests.training.small_training import drawn, phantoms
from xct_components.failures import CannotWrite
from xct_components.networks.cascade_stage import CascadeStage
from xct_components.training.kept_volumes import KeptVolumes, TensorsFingerprint, kept_where_drawn_again
from xct_components.training.prepare_batch import PrepareStageBatch
from xct_components.training.stage_batch import StageBatch

#: Whole HU are at most half a one away; consistency hands what 16 voxels of a ray are away to the few that take most of it.
HALF_HU, CORRECTED = 0.5, 16.0


def stages(count: int) -> list[CascadeStage]:
    return [small_stage(needs_coarse=number > 0) for number in range(count)]


def prepared(chain: list[CascadeStage], folder: Path | None, **how: object) -> PrepareStageBatch:
    kept = None if folder is None else KeptVolumes(folder)
    settings = {"real_coarse_share": 1.0, "coarse_noise": 0.0, **how}
    return PrepareStageBatch(chain[-1], chain[:-1], kept=kept, **settings)  # type: ignore[arg-type]


def difference(a: StageBatch, b: StageBatch) -> float:
    return float((a.prior_hu - b.prior_hu).abs().max())


@pytest.mark.parametrize("count", [1, 2])
def test_kept_starts_are_those_made_anew_but_for_rounding(count: int, tmp_path: Path) -> None:
    chain, cases = stages(count), drawn(phantoms())
    anew = prepared(chain, None).batch(cases)
    first, second = (prepared(chain, tmp_path).batch(cases) for _ in range(2))
    assert torch.equal(first.prior_hu, second.prior_hu)
    assert 0.0 < difference(anew, first) <= HALF_HU * (1.0 if count == 1 else CORRECTED)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_kept_start_is_read_and_not_made(tmp_path: Path) -> None:
    """Another volume in its place is believed."""
    chain, cases = stages(1), drawn(phantoms())
    prepared(chain, tmp_path).batch(cases)
    for file in tmp_path.iterdir():
        head, _, _ = file.read_bytes().partition(b"\n")
        _replace(file, head, torch.full((16, 16, 16), 7, dtype=torch.int16))
    assert prepared(chain, tmp_path).batch(cases).prior_hu.unique().tolist() == [7.0]


def test_a_damaged_file_is_made_anew(tmp_path: Path) -> None:
    chain, cases = stages(1), drawn(phantoms())
    before = prepared(chain, tmp_path).batch(cases)
    for file in tmp_path.iterdir():
        file.write_bytes(file.read_bytes()[:-20])
    assert torch.equal(prepared(chain, tmp_path).batch(cases).prior_hu, before.prior_hu)


@pytest.mark.parametrize("changed", ["patient", "augmentation", "exposure", "second film", "parent", "held CT"])
def test_what_a_start_depends_on_makes_another(changed: str, tmp_path: Path) -> None:
    chain = [small_stage(atlas_cts=2), small_stage(needs_coarse=True)][: 1 if changed == "held CT" else 2]
    cases = drawn(phantoms(1))
    prepared(chain, tmp_path).batch(cases)
    how: dict[str, object] = {}
    if changed == "patient":
        cases = [{**cases[0], "ct_hu": cases[0]["ct_hu"] + 1}]
    elif changed in ("augmentation", "exposure"):
        cases = [{**cases[0], changed: drawn(phantoms(1), epoch=1)[0][changed]}]
    elif changed == "second film":
        how = {"second_view_share": 1.0}
    elif changed == "parent":
        with torch.no_grad():
            next(chain[0].network.parameters()).add_(1e-3)
    elif chain[0].multi_atlas is not None:
        chain[0].multi_atlas.measure([("another", cases[0]["ct_hu"].float())])
    prepared(chain, tmp_path, **how).batch(cases)
    assert len(list(tmp_path.iterdir())) == 2


def test_cases_come_again_after_so_many_draws_with_other_noise_and_only_then_are_starts_kept(tmp_path: Path) -> None:
    cases, prepare = phantoms(draws=2), prepared(stages(1), tmp_path)
    batches = {epoch: prepare.batch(drawn(cases, epoch)) for epoch in (1, 2, 3)}
    assert torch.equal(batches[1].prior_hu, batches[3].prior_hu)
    assert torch.equal(batches[1].truth_hu, batches[3].truth_hu)
    assert not torch.equal(batches[1].noise, batches[3].noise)
    assert not torch.equal(batches[1].truth_hu, batches[2].truth_hu)
    assert len(list(tmp_path.iterdir())) == 4
    assert kept_where_drawn_again(tmp_path, 0) is None
    assert isinstance(kept_where_drawn_again(tmp_path, 2), KeptVolumes)


def test_a_full_disk_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(CannotWrite, match="No space left on device"):
        KeptVolumes(tmp_path).of({"case": "a"}, lambda: torch.zeros(1, 1, 2, 2, 2))
    assert not list(tmp_path.iterdir())


def test_a_fingerprint_follows_every_change_of_a_tensor() -> None:
    layer = torch.nn.Linear(3, 2)
    fingerprint = TensorsFingerprint([layer])
    first = fingerprint.digits()
    assert [fingerprint.digits(), TensorsFingerprint([layer]).digits()] == [first, first]
    with torch.no_grad():
        layer.bias.add_(1.0)
    second = fingerprint.digits()
    layer.weight = torch.nn.Parameter(layer.weight.detach().clone() * 2.0)
    assert len({first, second, fingerprint.digits()}) == 3


def _replace(file: Path, head: bytes, voxels: Tensor) -> None:
    import zlib

    file.write_bytes(head + b"\n" + zlib.compress(voxels.numpy().tobytes()))
