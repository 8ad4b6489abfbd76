"""Four tissue groups: a partition of the attenuation, one group on every plateau, no jumps."""

from __future__ import annotations

import pytest
import torch

from xct_components.physics.attenuation import hu_to_mu_per_mm
from xct_components.physics.tissue_groups import PASSAGES_HU, TISSUE_GROUPS, tissue_mu_per_mm

#: float32 rounding of four terms that add up to the whole.
ROUNDING = 1e-6


def ramp(first: float, last: float, step: float) -> torch.Tensor:
    """(1, 1, 1, 1, N) CT numbers."""
    return torch.arange(first, last, step, dtype=torch.float64)[None, None, None, None]


def test_the_groups_add_up_to_the_attenuation_at_every_ct_number() -> None:
    ct_hu = ramp(-1100, 3000, 0.25).float()
    groups = tissue_mu_per_mm(ct_hu)
    assert float(groups.amin()) >= 0.0
    torch.testing.assert_close(groups.sum(1, keepdim=True), hu_to_mu_per_mm(ct_hu), rtol=ROUNDING, atol=1e-9)


@pytest.mark.parametrize(
    ("group", "ct_hu"),
    [
        *(("lung", hu) for hu in (-850.0, -400.0)),
        *(("fat", hu) for hu in (-200.0, -100.0, -60.0)),
        *(("soft_tissue", hu) for hu in (-10.0, 40.0, 100.0)),
        *(("bone", hu) for hu in (160.0, 1200.0)),
    ],
)
def test_on_its_plateau_a_ct_number_belongs_to_one_group_alone(group: str, ct_hu: float) -> None:
    voxel = torch.full((1, 1, 1, 1, 1), ct_hu)
    shares = tissue_mu_per_mm(voxel).flatten()
    expected = torch.zeros(len(TISSUE_GROUPS))
    expected[TISSUE_GROUPS.index(group)] = hu_to_mu_per_mm(voxel).flatten()[0]
    torch.testing.assert_close(shares, expected, rtol=ROUNDING, atol=0.0)


def test_in_the_middle_of_a_passage_two_neighbours_share_alike() -> None:
    for number, (low, high) in enumerate(PASSAGES_HU):
        shares = tissue_mu_per_mm(torch.full((1, 1, 1, 1, 1), (low + high) / 2)).flatten()
        assert float(shares[number]) == pytest.approx(float(shares[number + 1]), rel=ROUNDING)
        assert float(shares[number]) == pytest.approx(float(shares.sum()) / 2, rel=ROUNDING)


def test_membership_passes_without_a_jump() -> None:
    """A jump would stay when the steps shrink; a slope shrinks with them, tenfold."""
    coarse, fine = (float(tissue_mu_per_mm(ramp(-1024, 1500, step)).diff(dim=-1).abs().amax()) for step in (1.0, 0.1))
    assert fine == pytest.approx(coarse / 10, rel=0.05)  # the steepest coarse step averages over the kinks of the table


def test_whole_numbers_as_a_ct_stores_them_are_read() -> None:
    stored = torch.tensor([-1000, -100, 40, 700], dtype=torch.int16)[None, None, None, None]
    assert torch.equal(tissue_mu_per_mm(stored), tissue_mu_per_mm(stored.float()))
