"""Films of any size and place, as a stage reads them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from xct_components.geometry import Beam, ConeBeam, Detector, VolumeGrid, chest_beam_covering, chest_parallel_beam
from xct_components.inferers.stage_films import beam_over, resampled_film, stage_films

FIELD = VolumeGrid.chest((8, 16, 16), 10.0, (5.0, -3.0, 40.0))
# float32 sums of at most 64 weights.
ROUNDING = 1e-5
# A box that cuts pixels takes their whole value for the part it covers: its middle is off by at most 1/8 of a film pixel.
MISPLACED_PIXELS = 0.125


def ramp(beam: Beam) -> torch.Tensor:
    """A film whose value is the position on the detector, in mm along the row plus three times that along the column."""
    detector = beam.detector
    index = torch.stack(torch.meshgrid(torch.arange(detector.rows), torch.arange(detector.cols), indexing="ij"), dim=-1)
    world_mm = beam.pixel_centers_mm(index)
    row, col = (torch.tensor(one, dtype=torch.float64) for one in (beam.row_direction, beam.col_direction))
    return (world_mm @ row + 3.0 * (world_mm @ col)).float()


@pytest.mark.parametrize("view", ["PA", "AP", "LL", "RL"])
def test_a_film_that_shows_the_field_exactly_is_read_as_it_is(view):
    cube = VolumeGrid.chest((16, 16, 16), 10.0)
    beam = chest_beam_covering(cube, view, 16, 16)
    film = torch.rand(1, 1, 1, 16, 16)
    films = stage_films(film, [[beam]], [cube], [cube])
    assert torch.equal(films.seen, film)
    assert torch.equal(films.measured, film)
    torch.testing.assert_close(
        films.seen_beams[0][0].pixel_centers_mm(torch.zeros(2)), beam.pixel_centers_mm(torch.zeros(2)), atol=1e-9, rtol=0.0
    )


def test_a_finer_film_is_averaged_over_whole_pixels():
    beam = chest_beam_covering(FIELD, "PA", 64, 64)
    film = torch.rand(1, 1, 1, 64, 64)
    films = stage_films(film, [[beam]], [FIELD], [FIELD])
    torch.testing.assert_close(films.seen, torch.nn.functional.avg_pool2d(film[0], 4)[None], atol=ROUNDING, rtol=0.0)
    assert films.measured.shape == films.seen.shape


def test_a_coarser_film_is_interpolated_to_be_seen_but_measured_as_it_is():
    beam = chest_beam_covering(FIELD, "PA", 8, 8)
    film = torch.rand(1, 1, 1, 8, 8)
    films = stage_films(film, [[beam]], [FIELD], [FIELD])
    assert films.seen.shape[-2:] == (16, 16)
    assert torch.equal(films.measured, film)


@pytest.mark.parametrize("size", [5, 8, 23, 61])
def test_what_varies_linearly_stays_where_it_is_on_any_detector_of_the_plane(size):
    beam = chest_beam_covering(FIELD, "PA", 24, 24)
    target = replace(beam, detector=Detector(size, size, tuple(mm * 24 / size * 0.5 for mm in beam.detector.pitch_mm)))
    inner = slice(size // 8 + 1, size - size // 8 - 1)
    error = (resampled_film(ramp(beam), beam, target) - ramp(target))[inner, inner].abs().max()
    assert float(error) <= MISPLACED_PIXELS * (1.0 + 3.0) * beam.detector.pitch_mm[0]


def test_beyond_its_edge_a_film_goes_on_as_it_ends_but_only_what_was_measured_counts():
    wide = chest_beam_covering(FIELD, "PA", 32, 32)
    upper = wide.crop(slice(0, 16), slice(0, 32))
    film = torch.rand(1, 1, 1, 16, 32)
    films = stage_films(film, [[upper]], [FIELD], [FIELD])
    torch.testing.assert_close(films.seen[..., 8:, :], films.seen[..., 8:9, :].expand(1, 1, 1, 8, 16), atol=ROUNDING, rtol=0.0)
    assert films.measured_beams[0][0].detector.rows == 8
    torch.testing.assert_close(films.measured[0], torch.nn.functional.avg_pool2d(film[0], 2), atol=ROUNDING, rtol=0.0)


def test_of_a_film_larger_than_the_field_only_the_field_is_measured():
    large = VolumeGrid.chest((8, 32, 32), 10.0, FIELD.center_mm)
    beam = chest_beam_covering(large, "PA", 32, 32)
    film = torch.rand(1, 1, 1, 32, 32)
    films = stage_films(film, [[beam]], [FIELD], [FIELD])
    assert torch.equal(films.measured, film[..., 8:24, 8:24])


def test_the_field_is_seen_where_its_middle_throws_its_shadow():
    source = (100.0, -1500.0, 0.0)
    beam = ConeBeam(Detector(40, 40, 5.0), (0.0, 200.0, 0.0), (0.0, 0.0, -1.0), (-1.0, 0.0, 0.0), source_mm=source)
    over = beam_over(beam, FIELD, 16, 16)
    middle, center = torch.tensor(over.detector_center_mm), torch.tensor(FIELD.center_mm)
    towards = (middle - torch.tensor(source)) / (center - torch.tensor(source))
    torch.testing.assert_close(towards, towards[:1].expand(3), atol=1e-4, rtol=1e-4)
    assert over.detector.rows * over.detector.pitch_mm[0] == pytest.approx(160.0 * beam.magnification_at(FIELD.center_mm))


def test_parallel_rays_show_the_field_at_its_own_size():
    beam = chest_parallel_beam("PA", Detector(10, 10, 30.0))
    assert beam_over(beam, FIELD, 16, 16).detector.pitch_mm == pytest.approx((10.0, 10.0))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda film, beam: (film[..., :-1], [[beam]]), "rows|pixels"),
        (lambda film, beam: (film, []), "one entry per film"),
        (lambda film, beam: (film, [[beam.moved(torch.eye(4, dtype=torch.float64) + _shift(900.0))]]), "beside it"),
    ],
)
def test_films_that_do_not_belong_to_their_beams_or_the_field_are_refused(change, words):
    film, beams = change(torch.rand(1, 1, 1, 16, 16), chest_beam_covering(FIELD, "PA", 16, 16))
    with pytest.raises(ValueError, match=words):
        stage_films(film, beams, [FIELD], [FIELD])


def _shift(along_x_mm: float) -> torch.Tensor:
    shift = torch.zeros(4, 4, dtype=torch.float64)
    shift[0, 3] = along_x_mm
    return shift


def test_where_the_body_goes_on_beside_the_field_rays_that_leave_it_within_the_body_are_not_measured():
    beam = chest_beam_covering(FIELD, "PA", 160, 160)
    films = stage_films(torch.rand(1, 1, 1, 160, 160), [[beam]], [FIELD], [FIELD], body_share=1.0)
    measured = films.measured_beams[0][0]
    source = torch.tensor(beam.source_mm, dtype=torch.float64)
    anterior_mm = FIELD.center_mm[1] + FIELD.extent_mm[0] / 2
    for pixel, inside in ((-0.5, True), (-0.5 - 2.0 * measured.detector.rows / 160, False)):
        ray = measured.pixel_centers_mm(torch.tensor([pixel, pixel])) - source
        exit_mm = source + ray * ((anterior_mm - source[1]) / ray[1])
        assert (float(exit_mm[2]) <= FIELD.center_mm[2] + FIELD.extent_mm[1] / 2 + 1e-6) == inside
