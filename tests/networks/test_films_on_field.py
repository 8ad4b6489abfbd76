"""Which axis a film looks along, and what it shows of a field's middle plane beside plain means of its pixels."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tests.networks.small_stages import GRID, SIDE, beams_of, chest_hu, film_of
from xct_components.geometry import Beam, chest_beam_covering
from xct_components.networks.films_on_field import axis_of, read_on_middle_plane

SIZE = (SIDE // 2,) * 3
#: Films read on a plane of 20 mm pixels against those of a beam nearer or farther away: the cone magnifies front and back
#: differently, up to this share.
CONE = 0.06


@pytest.mark.parametrize(("view", "axis"), [("PA", 0), ("AP", 0), ("LL", 2)])
def test_a_film_belongs_to_the_axis_it_looks_along(view: str, axis: int) -> None:
    assert axis_of(GRID, beams_of(view)[0]) == axis


def test_an_oblique_film_belongs_to_no_axis() -> None:
    turn = torch.tensor([[0.9, 0.436, 0, 0], [-0.436, 0.9, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], dtype=torch.float64)
    turn[:2, :2] /= turn[:2, :2].det().sqrt()
    assert axis_of(GRID.moved(turn), beams_of("PA")[0]) is None


def test_a_covering_film_is_read_as_means_of_its_pixels() -> None:
    film = film_of(chest_hu(), beams_of("PA"))
    read = read_on_middle_plane(film, GRID, beams_of("PA")[0], 0, SIZE)
    pooled = F.adaptive_avg_pool2d(film[:, 0, 0], SIZE[1:])
    assert read.shape == (1, *SIZE[1:])
    assert float((read - pooled).norm() / pooled.norm()) < CONE


def test_a_lateral_film_is_read_by_depth_and_height() -> None:
    """Front is where the field begins, whichever side faced the film."""
    chest = chest_hu()
    chest[:, :, : SIDE // 2] = -1000.0  # nothing in front
    for view in ("LL", "RL"):
        read = read_on_middle_plane(film_of(chest, beams_of(view)), GRID, beams_of(view)[0], 2, SIZE)[0]
        assert float(read[: SIZE[0] // 2 - 1].abs().amax()) < 0.05 * float(read.amax())


def test_an_ap_film_is_read_as_the_pa_film_of_the_same_patient() -> None:
    pa, ap = (
        read_on_middle_plane(film_of(chest_hu(), beams_of(view)), GRID, beams_of(view)[0], 0, SIZE) for view in ("PA", "AP")
    )
    assert float((pa - ap).norm() / pa.norm()) < 2 * CONE  # front and back change places in the cone
    assert float((pa - ap.flip(-1)).norm()) > float((pa - ap).norm())  # the heart stays on its side


def test_the_same_patient_in_another_room_is_read_alike() -> None:
    near: list[Beam] = [chest_beam_covering(GRID, "PA", SIDE, SIDE, source_to_detector_mm=1400.0, source_to_patient_mm=1200.0)]
    one, other = (read_on_middle_plane(film_of(chest_hu(), beams), GRID, beams[0], 0, SIZE) for beams in (near, beams_of("PA")))
    assert float((one - other).norm() / other.norm()) < CONE
