"""Where, how large and which way up a chest lies on a film: the best agreement with a mean film over all poses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from xct_components.data.film.agreement import FLAT, MeanFilm, agreement_with, ranked, shrunk

#: Fourier transforms are fast for such lengths.
FFT_MULTIPLE = 12
#: The search runs on films of this many pixels along the longer side (about 12 mm each), which all the large organs survive.
SEARCH_PIXELS = 32
#: What the longer side of a film may show, in mm in the patient: a child's or a collimated chest up to a whole trunk.
FIELDS_MM = tuple(float(mm) for mm in torch.linspace(math.log(230.0), math.log(520.0), 18).exp())
#: Height / width of the patient relative to the mean chest.
ASPECTS = (0.87, 1.0, 1.15)
#: Less of the mean chest than this (share of its weight) on the film proves nothing.
LEAST_OVERLAP = 0.6
#: What a missing part of the mean chest costs, in units of agreement per share.
OVERLAP_WORTH = 0.3
#: Natural log of height / width of the patient relative to the mean chest.
MOST_STRETCH = 0.2
#: Rounds of refinement, each with half the step of the one before: from 6 % and 12 mm down to 0.4 % and 0.8 mm.
REFINEMENTS = 5
FIRST_STEP, FIRST_STEP_MM = 0.06, 12.0


@dataclass(frozen=True)
class Pose:
    """A mean film laid onto a film.

    Args:
        quarter_turns: how often the film must be turned by 90 degrees counter-clockwise to stand upright.
        mirrored: whether it must then be flipped left to right.
        middle: (row, column) of the mean film's centre on the turned film, in pixels.
        mm_per_pixel: (height, width) in the mean patient of a film pixel.
        agreement: weighted correlation of ranks, -1 to 1; negative for a reversed grey scale.
        overlap: share of the mean film's weight that lies on the film.
    """

    quarter_turns: int
    mirrored: bool
    middle: tuple[float, float]
    mm_per_pixel: tuple[float, float]
    agreement: float = 0.0
    overlap: float = 0.0

    @property
    def merit(self) -> float:
        """Strength of the agreement, less what the film does not show."""
        return abs(self.agreement) - OVERLAP_WORTH * (1.0 - self.overlap)

    def scaled(self, pixels_per_pixel: float) -> Pose:
        """The same pose on a film with ``pixels_per_pixel`` times as many rows and columns."""
        row, col = ((i + 0.5) * pixels_per_pixel - 0.5 for i in self.middle)
        height_mm, width_mm = (mm / pixels_per_pixel for mm in self.mm_per_pixel)
        return replace(self, middle=(row, col), mm_per_pixel=(height_mm, width_mm))


def turned(pixels: Float[Tensor, "rows cols"], quarter_turns: int, mirrored: bool) -> Float[Tensor, "turned_rows turned_cols"]:
    """Turned counter-clockwise by quarter turns, then flipped left to right if ``mirrored``."""
    upright = torch.rot90(pixels, quarter_turns)
    return upright.flip(1) if mirrored else upright


def best_poses(pixels: Float[Tensor, "rows cols"], mean: MeanFilm) -> list[Pose]:
    """For each of the 8 orientations and both polarities the best pose, by falling merit.

    Args:
        pixels: a film without borders, any monotone grey scale.
        mean: what to look for.
    """
    small = shrunk(pixels, SEARCH_PIXELS)
    shrinkage = max(pixels.shape) / max(small.shape)
    best = []
    for first in (0, 1):  # quarter turns of one shape
        orientations = [(turns, mirrored) for turns in (first, first + 2) for mirrored in (False, True)]
        views = torch.stack([ranked(turned(small, *orientation)) for orientation in orientations])
        for (turns, mirrored), view, candidates in zip(orientations, views, _search(views, mean), strict=True):
            poses = _judged(view, mean, candidates)
            for sign in (1.0, -1.0):
                pose = max((pose for pose in poses if pose.agreement * sign > 0.0), key=lambda p: p.merit, default=None)
                if pose is not None:
                    best.append(replace(pose.scaled(shrinkage), quarter_turns=turns, mirrored=mirrored))
    return sorted(best, key=lambda pose: -pose.merit)


def _search(films: Tensor, mean: MeanFilm) -> list[list[Pose]]:
    """For every film, of small upright ones (films, rows, cols), and size the poses whose ranks agree most, and least."""
    poses: list[list[Pose]] = [[] for _ in films]
    for field_mm in FIELDS_MM:
        for aspect in ASPECTS:
            size = (field_mm / max(films.shape[1:]) / aspect**0.5, field_mm / max(films.shape[1:]) * aspect**0.5)
            template, weights = _resized(mean, size)
            agreements, overlap = _agreement_maps(films, template, weights)
            agreements = torch.where(overlap >= LEAST_OVERLAP, agreements, 0.0).flatten(1)
            for found, most, least in zip(poses, agreements.argmax(1).tolist(), agreements.argmin(1).tolist(), strict=True):
                for row, col in (divmod(index, overlap.shape[1]) for index in (most, least)):
                    middle = (row - (template.shape[0] - 1) / 2, col - (template.shape[1] - 1) / 2)
                    found.append(Pose(0, False, middle, size))
    return poses


def _judged(film: Tensor, mean: MeanFilm, poses: Sequence[Pose]) -> list[Pose]:
    """The poses with their agreement and overlap."""
    parameters = torch.tensor([[*pose.middle, *(math.log(mm) for mm in pose.mm_per_pixel)] for pose in poses])
    agreements, overlaps = _agreements_at(film, mean, parameters)
    return [
        replace(pose, agreement=float(agreement), overlap=float(overlap))
        for pose, agreement, overlap in zip(poses, agreements, overlaps, strict=True)
    ]


def _resized(mean: MeanFilm, size_mm: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """The mean film on pixels of another size; its middle stays in the middle."""
    rows, cols = (max(2, round(mean.values.shape[0] * mean.pixel_mm / mm)) for mm in size_mm)
    both = F.interpolate(torch.stack([mean.values * mean.weights, mean.weights])[None], size=(rows, cols), mode="area")[0]
    return both[0] / both[1].clamp_min(1e-6), both[1]


def _agreement_maps(films: Tensor, template: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Correlations (films, rows, cols) and overlap for every shift of the template; index = the place of its last pixel."""
    count, shifts = len(films), [a + b - 1 for a, b in zip(films.shape[1:], template.shape, strict=True)]
    size = [-(-n // FFT_MULTIPLE) * FFT_MULTIPLE for n in shifts]
    of_ones, *of_films = torch.fft.rfft2(torch.cat([torch.ones_like(films[:1]), films, films**2]), s=size).split(
        [1, count, count]
    )
    parts = torch.fft.rfft2(torch.stack([weights, weights * template, weights * template**2]), s=size).conj()
    products = torch.cat([of_ones * parts, of_films[0] * parts[0], of_films[1] * parts[0], of_films[0] * parts[1]])
    sums = torch.fft.irfft2(products, s=size).roll([n - 1 for n in template.shape], (1, 2))[:, : shifts[0], : shifts[1]]
    (overlap, *of_template), of_film = sums[:3], sums[3:].unflatten(0, (3, count))
    total = overlap.clamp_min(1e-6)
    template_mean, template_square = (each / total for each in of_template)
    film_mean, film_square, product = of_film / total
    variances = (film_square - film_mean**2).clamp_min(FLAT) * (template_square - template_mean**2).clamp_min(FLAT)
    agreement = (product - film_mean * template_mean) / variances.sqrt()
    return agreement.clamp(-1.0, 1.0), overlap / weights.sum()


def refined(pixels: Float[Tensor, "rows cols"], mean: MeanFilm, pose: Pose) -> Pose:
    """The pose nearby that agrees best, to about 1 mm and 0.4 %."""
    film = ranked(shrunk(turned(pixels, pose.quarter_turns, pose.mirrored), 2 * SEARCH_PIXELS))
    shrinkage = max(pixels.shape) / max(film.shape)
    start = pose.scaled(1.0 / shrinkage)
    sign = math.copysign(1.0, pose.agreement)
    best = torch.tensor([*start.middle, *(math.log(mm) for mm in start.mm_per_pixel)])
    limits = [math.log(mm / max(film.shape)) for mm in (FIELDS_MM[0], FIELDS_MM[-1])]
    steps = torch.cartesian_prod(*[torch.tensor([-1.0, 0.0, 1.0])] * 4)
    for share in (0.5**n for n in range(REFINEMENTS) for _ in range(2)):
        unit = torch.cat([FIRST_STEP_MM * share / best[2:].exp(), torch.full((2,), FIRST_STEP * share)])
        candidates = best + steps * unit
        agreements, overlaps = _agreements_at(film, mean, candidates)
        merits = sign * agreements - OVERLAP_WORTH * (1.0 - overlaps)
        stretch, size = candidates[:, 2] - candidates[:, 3], candidates[:, 2:].mean(1)
        allowed = (stretch.abs() <= MOST_STRETCH) & (size >= limits[0]) & (size <= limits[1]) & (overlaps >= LEAST_OVERLAP)
        allowed[len(steps) // 2] = True
        index = int(torch.where(allowed, merits, -math.inf).argmax())
        best, pose = candidates[index], replace(pose, agreement=float(agreements[index]), overlap=float(overlaps[index]))
    row, col, log_height, log_width = best.tolist()
    found = replace(pose, middle=(row, col), mm_per_pixel=(math.exp(log_height), math.exp(log_width)))
    return found.scaled(shrinkage)


def laid_over(
    film: Float[Tensor, "rows cols"], mean: MeanFilm, middle: Sequence[float], mm_per_pixel: Sequence[float]
) -> tuple[Float[Tensor, "n n"], Float[Tensor, "n n"]]:
    """An upright film in the frame of the mean film, and where it is covered (1) or not (0)."""
    n = mean.values.shape[0]
    offsets_mm = (torch.arange(n) - (n - 1) / 2) * mean.pixel_mm
    rows, cols = (m + offsets_mm / mm for m, mm in zip(middle, mm_per_pixel, strict=True))
    values, covered = _read_at(film, rows[None], cols[None])
    return values[0], covered[0]


def _agreements_at(film: Tensor, mean: MeanFilm, candidates: Tensor) -> tuple[Tensor, Tensor]:
    """Agreement and overlap of an upright ranked film for poses (b, 4): middle row and column, log mm per row and column."""
    n = mean.values.shape[0]
    offsets_mm = (torch.arange(n) - (n - 1) / 2) * mean.pixel_mm
    sizes_mm = candidates[:, 2:].exp()
    rows = candidates[:, :1] + offsets_mm / sizes_mm[:, :1]
    cols = candidates[:, 1:2] + offsets_mm / sizes_mm[:, 1:]
    values, covered = _read_at(film, rows, cols)
    return agreement_with(mean, values, covered), (covered * mean.weights).sum((1, 2)) / mean.weights.sum()


def _read_at(film: Tensor, rows: Tensor, cols: Tensor) -> tuple[Tensor, Tensor]:
    """Bilinear values (b, n, n) at rows x cols (b, n each), and 1 where they lie on the film."""
    normal = [(2 * x + 1) / n - 1 for x, n in ((rows, film.shape[0]), (cols, film.shape[1]))]
    grid = torch.stack(torch.broadcast_tensors(normal[1][:, None, :], normal[0][:, :, None]), dim=-1)
    values = F.grid_sample(film[None, None].expand(len(rows), -1, -1, -1), grid, padding_mode="border", align_corners=False)
    return values[:, 0], (grid.abs() <= 1.0).all(-1).float()
