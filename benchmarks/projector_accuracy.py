"""How right a projector is: analytic phantoms, adjointness, and voxels that a coarse detector leaves without a gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.projection_problem import (
    GaussianBlob,
    ProjectionProblem,
    Sphere,
    pixel_mean_film,
    voxels_inside_beam,
)
from benchmarks.projector_peers import Method

#: The interior of the sphere ends here: the limb, which voxels cannot hold, stays 24 mm away.
INTERIOR_SHARE_OF_RADIUS = 0.8
#: Random zero-mean volumes for the adjointness; the worst counts.
ADJOINT_SEEDS = (0, 1, 2, 3, 4)
#: Detectors, in pixels across, on which voxels without a gradient are counted.
COARSE_DETECTORS = (128, 64, 32)

Accuracy = dict[str, float]


def relative_l2(film: Tensor, truth: Tensor) -> float:
    """||film - truth|| / ||truth||."""
    return float((film.double().cpu() - truth).norm() / truth.norm())


def true_film(phantom: GaussianBlob | Sphere, method: Method, problem: ProjectionProblem) -> Tensor:
    """What the method's pixels should hold, float64 (rows, cols)."""
    return phantom.film(problem.beam) if method.truth == "ray" else pixel_mean_film(phantom, problem.beam)


def film_errors(method: Method, problem: ProjectionProblem, device: str) -> Accuracy:
    """Errors against the analytic films: relative L2, and the largest as a share of the film's peak."""
    errors: Accuracy = {}
    sphere = Sphere()
    for name, phantom in (("sphere", sphere), ("blob", GaussianBlob())):
        with torch.no_grad():
            film = method.bind(problem, phantom.volume(problem.grid).to(device))()
        truth = true_film(phantom, method, problem)
        errors[f"{name}_l2"] = relative_l2(film, truth)
        errors[f"{name}_max"] = float((film.double().cpu() - truth).abs().max() / truth.max())
        if phantom is sphere:
            inside = sphere.interior(problem.beam, INTERIOR_SHARE_OF_RADIUS)
            errors["sphere_interior_l2"] = relative_l2(film.cpu()[inside], truth[inside])
    return errors


def adjoint_errors(method: Method, problem: ProjectionProblem, device: str, seed: int) -> tuple[float, float]:
    """|<Ax, y> - <x, A'y>| / |<Ax, y>| of a random zero-mean x, A' from autograd: for y = Ax, and for y random too.

    The second has no floor: <Ax, y> of two random films is near zero now and then, which inflates it a hundredfold.
    """
    generator = torch.Generator().manual_seed(seed)
    volume = torch.randn(1, 1, *problem.grid.shape, generator=generator)
    volume = (volume - volume.mean()).to(device).requires_grad_()
    film = method.bind(problem, volume)()
    noise = torch.randn(film.shape, generator=generator)
    errors = []
    for weights in (film.detach(), (noise - noise.mean()).to(device)):
        (gradient,) = torch.autograd.grad(film, volume, weights, retain_graph=True)
        in_film = float((film.detach().double() * weights.double()).sum())
        in_volume = float((volume.detach().double() * gradient.double()).sum())
        errors.append(abs(in_film - in_volume) / abs(in_film))
    return errors[0], errors[1]


def share_without_gradient(method: Method, problem: ProjectionProblem, device: str) -> float:
    """Share of the voxels inside the beam that no pixel's value depends on."""
    volume = torch.ones(1, 1, *problem.grid.shape, device=device, requires_grad=True)
    film = method.bind(problem, volume)()
    (gradient,) = torch.autograd.grad(film, volume, torch.ones_like(film))
    seen = gradient[0, 0].cpu()[voxels_inside_beam(problem)]
    return float((seen == 0).double().mean())


def accuracy_of(method: Method, problem: ProjectionProblem, device: str) -> Accuracy:
    """All accuracy figures of one method; those that need a gradient only where there is one."""
    figures = film_errors(method, problem, device)
    if method.differentiable:
        itself, random = zip(*(adjoint_errors(method, problem, device, seed) for seed in ADJOINT_SEEDS), strict=True)
        figures |= {"adjoint_itself": max(itself), "adjoint_random": max(random)}
        for pixels in COARSE_DETECTORS:
            figures[f"no_gradient_{pixels}"] = share_without_gradient(method, problem.with_film(pixels), device)
    return figures
