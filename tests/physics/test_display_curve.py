"""Grey values: ends, order, independence of the content, and the curve of DICOM."""

import math

import pytest
import torch

from xct_components.physics.display_curve import DisplayCurve, display

FLOAT64 = 1e-12
#: Vectorised and scalar exponentials differ in the last bit of float32, and a large film uses the one, its crop the other.
FLOAT32 = 1e-6
CURVES = [
    DisplayCurve(),
    DisplayCurve((0.5, 5.5), contrast=4.0),
    DisplayCurve((0.0, 4.0), gamma=0.6),
    DisplayCurve((-0.2, 7.0), contrast=8.0, gamma=1.6),
]


def line_integrals(curve, count=400):
    black, white = curve.window
    return torch.linspace(black, white, count, dtype=torch.float64)


@pytest.mark.parametrize("curve", CURVES)
def test_the_window_runs_from_black_to_white_and_more_attenuation_is_brighter(curve):
    grey = display(line_integrals(curve), curve)
    assert grey[0].item() == pytest.approx(0.0, abs=FLOAT64)
    assert grey[-1].item() == pytest.approx(1.0, abs=FLOAT64)
    assert bool((grey.diff() > 0).all())


@pytest.mark.parametrize("curve", CURVES)
def test_beyond_the_window_grey_values_stay_within_0_and_1(curve):
    grey = display(torch.tensor([-100.0, -1.0, 12.0, 1e6]), curve)
    assert grey.tolist() == pytest.approx([0.0, 0.0, 1.0, 1.0], abs=1e-6)
    assert 0.0 <= grey.min() <= grey.max() <= 1.0


@pytest.mark.parametrize("curve", CURVES)
def test_a_pixel_looks_the_same_whatever_else_is_on_the_film(curve):
    film = torch.rand(16, 16, generator=torch.Generator().manual_seed(0)) * 6.0
    torch.testing.assert_close(display(film, curve)[3:7, 2:9], display(film[3:7, 2:9], curve), rtol=FLOAT32, atol=FLOAT32)


def test_contrast_4_is_the_sigmoid_of_dicom_stretched_to_the_ends():
    # PS3.3 C.11.2.1.3.1: 1 / (1 + exp(-4 (x - centre) / width)).
    curve = DisplayCurve((1.0, 5.0), contrast=4.0)
    sigmoid = [1.0 / (1.0 + math.exp(-4.0 * (x - 3.0) / 4.0)) for x in line_integrals(curve).tolist()]
    expected = [(y - sigmoid[0]) / (sigmoid[-1] - sigmoid[0]) for y in sigmoid]
    assert display(line_integrals(curve), curve).tolist() == pytest.approx(expected, abs=FLOAT64)


def test_gamma_below_1_brightens_and_above_1_darkens():
    middle = torch.tensor(3.0)
    dark, plain, bright = (display(middle, DisplayCurve(gamma=gamma)).item() for gamma in (1.6, 1.0, 0.6))
    assert dark < plain < bright
    assert bright == pytest.approx(0.5**0.6, abs=0.02)  # the toe moves it by less than a grey level in fifty


@pytest.mark.parametrize("curve", CURVES)
def test_the_slope_is_finite_even_at_black(curve):
    film = line_integrals(curve).requires_grad_()
    display(film, curve).sum().backward()
    assert film.grad is not None
    assert bool(torch.isfinite(film.grad).all())


@pytest.mark.parametrize("curve", CURVES)
def test_gradients_are_those_of_the_curve(curve):
    film = line_integrals(curve, count=9)[1:-1].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda f: display(f, curve), film)


@pytest.mark.parametrize("curve", CURVES)
def test_a_curve_survives_repr_and_json(curve):
    assert eval(repr(curve)) == curve
    assert DisplayCurve.from_json(curve.to_json()) == curve


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"window": (6.0, 0.0)}, r"window must be \(black, white\)"),
        ({"window": (0.0, float("inf"))}, r"window must be \(black, white\)"),
        ({"contrast": -1.0}, "contrast must be finite and >= 0, got -1.0"),
        ({"gamma": 0.0}, "gamma must be finite and > 0, got 0.0"),
    ],
)
def test_what_is_no_curve_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        DisplayCurve(**settings)
