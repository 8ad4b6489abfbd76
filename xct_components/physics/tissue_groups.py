"""Four groups of tissue by CT number: what a chest ray passes through, each with its share of the attenuation.

Membership is fuzzy: it passes linearly from one group to the next between two CT numbers, so that partial volume and noise move
a voxel smoothly. The groups add up to the whole: ``tissue_mu_per_mm(ct).sum(1) == hu_to_mu_per_mm(ct)``.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Real
from torch import Tensor

from xct_components.physics.attenuation import hu_to_mu_per_mm

TISSUE_GROUPS = ("lung", "fat", "soft_tissue", "bone")

#: HU between which one group passes into the next. Lung tissue, with its vessels blurred in, reaches to about -300; fat lies at
#: -140 to -40, muscle and blood at 0 to 80, trabecular bone from about 130 (ranges as in Schneider et al., Phys Med Biol
#: 1996;41:111).
PASSAGES_HU = ((-400.0, -200.0), (-60.0, -10.0), (100.0, 160.0))


def tissue_mu_per_mm(ct_hu: Real[Tensor, "b 1 d h w"]) -> Float[Tensor, "b 4 d h w"]:
    """Linear attenuation at 60 keV by tissue group.

    Args:
        ct_hu: CT numbers.

    Returns:
        (B, 4, D, H, W) per mm, >= 0, in the order of ``TISSUE_GROUPS``; the sum over groups is ``hu_to_mu_per_mm(ct_hu)``.
    """
    mu_per_mm = hu_to_mu_per_mm(ct_hu)
    beyond = [((ct_hu - low) / (high - low)).clamp(0.0, 1.0) for low, high in PASSAGES_HU]
    shares = [1.0 - beyond[0], beyond[0] - beyond[1], beyond[1] - beyond[2], beyond[2]]
    return torch.cat(shares, dim=1) * mu_per_mm
