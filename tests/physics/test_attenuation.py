"""HU, attenuation and the two materials: against published tables and against each other."""

import math

import pytest
import torch

from xct_components.physics.attenuation import (
    CT_ENERGY_KEV,
    cortical_bone_hu,
    hu_to_materials,
    hu_to_mu_per_mm,
    linear_attenuation_per_mm,
    mass_attenuation_cm2_per_g,
    mu_per_mm_to_hu,
    physics_tables,
    water_mu_per_mm,
)

#: NIST prints four digits: half a unit of the last one is up to 4e-4 of the smallest leading digits.
PUBLISHED_DIGITS = 5e-4
#: Six digits are stored; a product of two entries is within twice half a unit of the sixth.
STORED_DIGITS = 1e-5
#: A few roundings of float64.
FLOAT64 = 1e-12
#: float32 resolves mu to 1.2e-7 of the bone value; on the scale of 4000 HU a few such roundings are a hundredth of a HU.
FLOAT32_HU = 1e-2
#: Fat and muscle are not exactly water of another density: over 10 keV the two-material model is off by up to this share.
TISSUE_MODEL = 0.015

# NIST X-Ray Mass Attenuation Coefficients (NISTIR 5632): water, and cortical bone of ICRU Report 44, in cm2/g.
NIST = {
    "water": {10: 5.329, 20: 0.8096, 30: 0.3756, 40: 0.2683, 50: 0.2269, 60: 0.2059, 80: 0.1837, 100: 0.1707, 150: 0.1505},
    "cortical_bone": {10: 28.51, 20: 4.001, 30: 1.331, 40: 0.6655, 50: 0.4242, 60: 0.3148, 80: 0.2229, 100: 0.1855, 150: 0.148},
}

#: The printed digits of two coefficients (4e-4 each), amplified by 2.6/1.6 where 1 is taken from their ratio, plus the cubic.
INTERPOLATED_DIGITS = 3e-3

ENERGIES_KEV = [40.0, 60.0, 70.0, 100.0]


def log_cubic(material, energy_kev):
    nodes = [50, 60, 80, 100]
    total = 0.0
    for node in nodes:
        others = [other for other in nodes if other != node]
        lagrange = math.prod(math.log(energy_kev / other) / math.log(node / other) for other in others)
        total += math.log(NIST[material][node]) * lagrange
    return math.exp(total)


def every_hu(dtype=torch.float64):
    return torch.linspace(-1000.0, 3071.0, 4072, dtype=dtype)


@pytest.mark.parametrize(("material", "energy_kev"), [(name, energy) for name in NIST for energy in NIST[name]])
def test_the_table_reproduces_the_published_coefficients(material, energy_kev):
    assert mass_attenuation_cm2_per_g(material, float(energy_kev)) == pytest.approx(
        NIST[material][energy_kev], rel=PUBLISHED_DIGITS
    )


def test_water_attenuates_a_chest_film_by_0_0206_per_mm():
    assert water_mu_per_mm(60.0) == pytest.approx(0.0206, abs=5e-5)


def test_between_two_entries_attenuation_follows_a_power_law():
    between = mass_attenuation_cm2_per_g("water", math.sqrt(40.0 * 41.0))
    ends = mass_attenuation_cm2_per_g("water", 40.0) * mass_attenuation_cm2_per_g("water", 41.0)
    assert between == pytest.approx(math.sqrt(ends), rel=FLOAT64)


def test_cesium_iodide_keeps_the_k_edge_of_iodine():
    # Iodine's K shell more than triples the attenuation of the compound within 0.03 keV of 33.17 keV.
    assert mass_attenuation_cm2_per_g("cesium_iodide", 33.18) > 3.0 * mass_attenuation_cm2_per_g("cesium_iodide", 33.15)


@pytest.mark.parametrize("energy_kev", [9.99, 150.01, float("nan"), -60.0])
def test_an_energy_outside_the_table_is_refused(energy_kev):
    with pytest.raises(ValueError, match="energy_kev must lie within the table, 10-150 keV"):
        water_mu_per_mm(energy_kev)


def test_an_unknown_material_is_refused():
    with pytest.raises(ValueError, match="material must be one of water"):
        mass_attenuation_cm2_per_g("unobtainium", 60.0)
    with pytest.raises(ValueError, match="material must be one of water"):
        linear_attenuation_per_mm("unobtainium", 60.0)


def test_the_shipped_table_names_its_sources_and_their_licences():
    provenance = physics_tables()["provenance"]
    assert "xraydb" in provenance["attenuation"]
    assert "MIT" in provenance["attenuation_licence"]
    assert "spekpy" in provenance["spectra"]


def test_at_the_energy_of_ct_attenuation_is_what_hounsfield_defined():
    ct_hu = every_hu()
    expected = water_mu_per_mm(CT_ENERGY_KEV) * (1.0 + ct_hu / 1000.0)
    torch.testing.assert_close(hu_to_mu_per_mm(ct_hu, CT_ENERGY_KEV), expected, rtol=FLOAT64, atol=FLOAT64)


@pytest.mark.parametrize("energy_kev", ENERGIES_KEV)
def test_hu_survive_the_way_to_attenuation_and_back(energy_kev):
    back = mu_per_mm_to_hu(hu_to_mu_per_mm(every_hu(), energy_kev), energy_kev)
    torch.testing.assert_close(back, every_hu(), rtol=0.0, atol=1e4 * FLOAT64)
    single = every_hu(torch.float32)
    back = mu_per_mm_to_hu(hu_to_mu_per_mm(single, energy_kev), energy_kev)
    torch.testing.assert_close(back, single, rtol=0.0, atol=FLOAT32_HU)


@pytest.mark.parametrize("energy_kev", ENERGIES_KEV)
def test_denser_always_attenuates_more(energy_kev):
    assert bool((hu_to_mu_per_mm(every_hu(), energy_kev).diff() > 0).all())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_air_and_padding_attenuate_exactly_nothing(dtype):
    padding = torch.tensor([-1000.0, -1024.0, -2000.0, -32768.0, -float("inf")], dtype=dtype)
    soft, bone = hu_to_materials(padding)
    for value in (hu_to_mu_per_mm(padding), soft, bone):
        assert value.dtype == dtype
        assert not value.any()


def test_metal_counts_as_the_end_of_the_ct_scale():
    metal = torch.tensor([3071.0, 3072.0, 30000.0])
    assert hu_to_mu_per_mm(metal).unique().numel() == 1
    assert mu_per_mm_to_hu(torch.tensor([10.0])).item() == pytest.approx(3071.0, abs=FLOAT32_HU)


def test_cortical_bone_is_where_published_densities_put_it():
    # NIST prints no value at 70 keV: a cubic through its neighbours in log energy and log coefficient stands in.
    expected = 1000.0 * (1.92 * log_cubic("cortical_bone", 70.0) / log_cubic("water", 70.0) - 1.0)
    assert cortical_bone_hu() == pytest.approx(expected, rel=INTERPOLATED_DIGITS)
    soft, bone = hu_to_materials(torch.tensor([cortical_bone_hu()], dtype=torch.float64))
    assert (soft.item(), bone.item()) == (pytest.approx(0.0, abs=FLOAT64), pytest.approx(1.0, rel=FLOAT64))


@pytest.mark.parametrize("energy_kev", [40, 60, 80, 100])
def test_bone_stands_out_from_water_by_the_published_ratio_at_every_energy(energy_kev):
    mu_per_mm = hu_to_mu_per_mm(torch.tensor([cortical_bone_hu(), 0.0], dtype=torch.float64), float(energy_kev))
    expected = 1.92 * NIST["cortical_bone"][energy_kev] / NIST["water"][energy_kev]
    assert (mu_per_mm[0] / mu_per_mm[1]).item() == pytest.approx(expected, rel=2 * PUBLISHED_DIGITS)


@pytest.mark.parametrize("energy_kev", ENERGIES_KEV)
def test_the_two_materials_add_up_to_the_attenuation(energy_kev):
    soft, bone = hu_to_materials(every_hu())
    total = soft * water_mu_per_mm(energy_kev) + bone * linear_attenuation_per_mm("cortical_bone", energy_kev)
    torch.testing.assert_close(total, hu_to_mu_per_mm(every_hu(), energy_kev), rtol=FLOAT64, atol=FLOAT64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_voxel_holds_less_than_nothing_of_a_material(dtype):
    soft, bone = hu_to_materials(torch.linspace(-1100.0, 3200.0, 100_001, dtype=dtype))
    assert soft.min() == 0.0
    assert bone.min() == 0.0


def test_bone_begins_above_100_hu():
    assert hu_to_materials(torch.tensor([101.0]))[1].item() > 0.0
    soft, bone = hu_to_materials(torch.arange(-1000.0, 101.0, dtype=torch.float64))
    assert not bone.any()
    torch.testing.assert_close(soft, torch.arange(0.0, 1101.0, dtype=torch.float64) / 1000.0, rtol=FLOAT64, atol=FLOAT64)


@pytest.mark.parametrize("tissue", ["adipose", "soft_tissue", "lung"])
def test_fat_muscle_and_lung_come_out_as_tabulated_at_another_energy(tissue):
    ct_hu = 1000.0 * (linear_attenuation_per_mm(tissue, CT_ENERGY_KEV) / water_mu_per_mm(CT_ENERGY_KEV) - 1.0)
    mu_per_mm = hu_to_mu_per_mm(torch.tensor(ct_hu, dtype=torch.float64), 60.0).item()
    assert mu_per_mm == pytest.approx(linear_attenuation_per_mm(tissue, 60.0), rel=TISSUE_MODEL)


def test_gradients_follow_the_curves():
    # Away from the knots at -1000, 100, 1559 and 3071 HU.
    ct_hu = torch.tensor([-990.0, -500.0, 0.0, 300.0, 1200.0, 2000.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda hu: (hu_to_mu_per_mm(hu), *hu_to_materials(hu)), ct_hu, eps=1e-3)
    mu_per_mm = hu_to_mu_per_mm(ct_hu.detach()).requires_grad_()
    assert torch.autograd.gradcheck(mu_per_mm_to_hu, mu_per_mm, eps=1e-7, atol=1e-3, rtol=1e-6)


def test_a_volume_of_air_can_be_optimised_out_of_air():
    ct_hu = torch.full((3,), -1000.0, requires_grad=True)
    mu_per_mm = hu_to_mu_per_mm(ct_hu)
    mu_per_mm.sum().backward()
    assert ct_hu.grad is not None
    assert bool((ct_hu.grad > 0).all())


def test_the_ct_itself_is_left_untouched():
    ct_hu = every_hu()
    for convert in (hu_to_mu_per_mm, hu_to_materials, mu_per_mm_to_hu):
        convert(ct_hu)
    assert torch.equal(ct_hu, every_hu())


def test_nan_stays_nan():
    ct_hu = torch.tensor([float("nan"), 0.0])
    for value in (hu_to_mu_per_mm(ct_hu), *hu_to_materials(ct_hu), mu_per_mm_to_hu(ct_hu)):
        assert value.isnan().tolist() == [True, False]


def test_integer_voxels_give_the_same_as_their_float_copy():
    ct_hu = torch.arange(-1024, 3072, dtype=torch.int16)
    for convert in (hu_to_mu_per_mm, lambda hu: hu_to_materials(hu)[0], lambda hu: hu_to_materials(hu)[1]):
        assert torch.equal(convert(ct_hu), convert(ct_hu.float()))
