"""The projectors under test, each bound to the same volume and exposure.

A method is bound once to a problem and a contiguous float32 volume (1, 1, D, H, W) in mu per mm; the function that comes
back renders the film (rows, cols). Everything a user would prepare once, such as camera matrices, is prepared while binding
and is not timed.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from benchmarks.projection_problem import ProjectionProblem

Render = Callable[[], Tensor]


@dataclass(frozen=True)
class Method:
    """One row of the table.

    Args:
        name: what the table calls it; the part before the first underscore is its family.
        package: the distribution to install.
        modules: what to import before the memory baseline is taken.
        bind: (problem, volume) -> function that renders the film.
        truth: what its pixels mean: the centre ray, or the mean over the pixel.
        differentiable: whether it has a gradient in the volume.
        devices: where it runs.
    """

    name: str
    package: str
    modules: tuple[str, ...]
    bind: Callable[[ProjectionProblem, Tensor], Render]
    truth: Literal["ray", "pixel mean"] = "ray"
    differentiable: bool = True
    devices: tuple[str, ...] = ("cpu", "cuda")


def _bind_ours(footprint: Literal["area", "ray"], problem: ProjectionProblem, volume: Tensor) -> Render:
    from xct_components.physics.projector import project

    return lambda: project(volume, problem.grid, [problem.beam], footprint=footprint)[0, 0, 0]


def _camera_to_world(problem: ProjectionProblem, *, flip_rows: bool) -> Tensor:
    """(1, 4, 4) float32: x along the film's columns, y down its rows (or up), z along the central ray, origin in the source."""
    beam = problem.beam
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3, 0] = torch.tensor(beam.col_direction, dtype=torch.float64)
    matrix[:3, 1] = torch.tensor(beam.row_direction, dtype=torch.float64) * (-1.0 if flip_rows else 1.0)
    central = torch.tensor(beam.detector_center_mm, dtype=torch.float64) - torch.tensor(beam.source_mm, dtype=torch.float64)
    matrix[:3, 2] = central / central.norm()
    matrix[:3, 3] = torch.tensor(beam.source_mm, dtype=torch.float64)
    return matrix.float()[None]


def _world_from_whd(problem: ProjectionProblem) -> Tensor:
    """(4, 4) float64: the affine for peers that index voxels fastest axis first (W, H, D)."""
    return problem.grid.affine[:, [2, 1, 0, 3]]


def _bind_nanodrr(samples: int | None, backend: str, problem: ProjectionProblem, volume: Tensor) -> Render:
    data, camera, drr = (importlib.import_module(f"nanodrr.{part}") for part in ("data", "camera", "drr"))
    device, detector = volume.device, problem.beam.detector
    affine = _world_from_whd(problem)
    size_whd = torch.tensor(problem.grid.shape[::-1], dtype=torch.float64)
    grid_from_voxel = torch.diag(torch.cat([2.0 / size_whd, torch.ones(1, dtype=torch.float64)]))
    grid_from_voxel[:3, 3] = 1.0 / size_whd - 1.0
    subject = data.Subject(
        imagedata=volume,
        labeldata=volume.new_zeros(1, 1, 1, 1, 1),
        voxel_to_world=affine.float().to(device),
        world_to_voxel=affine.inverse().float().to(device),
        voxel_to_grid=grid_from_voxel.float().to(device),
        isocenter=torch.zeros(3, device=device),
        max_label=0,
        convert_to_mu=False,
    )
    distance_mm, (row_mm, col_mm) = problem.beam.source_to_detector_mm, detector.pitch_mm
    k_inv = camera.make_k_inv(distance_mm, col_mm, row_mm, 0.0, 0.0, detector.rows, detector.cols, device=device)
    renderer = drr.DRR(k_inv, torch.tensor([distance_mm], device=device), detector.rows, detector.cols)
    pose = _camera_to_world(problem, flip_rows=False).to(device)
    count = samples or problem.grid.shape[0]
    return lambda: renderer(subject, pose, n_samples=count, backend=backend)[0, 0]


def _bind_diffdrr(renderer: str, problem: ProjectionProblem, volume: Tensor) -> Render:
    drr, pose = importlib.import_module("diffdrr.drr"), importlib.import_module("diffdrr.pose")
    torchio = importlib.import_module("torchio")
    detector, device = problem.beam.detector, volume.device
    # The subject carries the geometry alone. The attenuation goes to `render`: reading a volume would rescale it to [0, 1].
    image = torchio.ScalarImage(tensor=torch.zeros(1, 1, 1, 1), affine=_world_from_whd(problem).numpy())
    subject = torchio.Subject(volume=image, density=image, mask=None, reorient=torch.eye(4))
    module = drr.DRR(
        subject,
        sdd=problem.beam.source_to_detector_mm,
        height=detector.rows,
        width=detector.cols,
        delx=detector.pitch_mm[1],
        dely=detector.pitch_mm[0],
        reverse_x_axis=False,
        renderer=renderer,
    ).to(device)
    rays = module.detector(pose.RigidTransform(_camera_to_world(problem, flip_rows=True).to(device)), None)
    density = volume[0, 0].permute(2, 1, 0)
    return lambda: module.reshape_transform(module.render(density, *rays), batch_size=1)[0, 0]


def _bind_rtk(problem: ProjectionProblem, volume: Tensor) -> Render:
    itk = importlib.import_module("itk")
    rtk = itk.RTK
    image_type = itk.Image[itk.F, 3]
    detector, grid = problem.beam.detector, problem.grid
    # At gantry angle 0 RTK's x runs along the film's columns, y down its rows, z to the source: W, H and D of a PA exposure.
    image = itk.image_view_from_array(volume.detach()[0, 0].numpy())
    image.SetSpacing([float(step) for step in grid.spacing_mm[::-1]])
    image.SetOrigin([-(n - 1) / 2 * float(step) for n, step in zip(grid.shape[::-1], grid.spacing_mm[::-1], strict=True)])
    geometry = rtk.ThreeDCircularProjectionGeometry.New()
    geometry.AddProjection(-problem.beam.source_mm[1], problem.beam.source_to_detector_mm, 0.0)
    row_mm, col_mm = detector.pitch_mm

    def render() -> Tensor:
        blank = rtk.ConstantImageSource[image_type].New()
        blank.SetSize([detector.cols, detector.rows, 1])
        blank.SetSpacing([col_mm, row_mm, 1.0])
        blank.SetOrigin([-(detector.cols - 1) / 2 * col_mm, -(detector.rows - 1) / 2 * row_mm, 0.0])
        joseph = rtk.JosephForwardProjectionImageFilter[image_type, image_type].New()
        joseph.SetInput(0, blank.GetOutput())
        joseph.SetInput(1, image)
        joseph.SetGeometry(geometry)
        joseph.Update()
        return torch.from_numpy(itk.array_from_image(joseph.GetOutput()))[0]

    return render


def _bind_diffct(problem: ProjectionProblem, volume: Tensor) -> Render:
    diffct = importlib.import_module("diffct")
    beam, grid = problem.beam, problem.grid
    # diffct places the volume around its origin, x, y, z along W, H, D; its sinogram is (views, columns, rows).
    whd_from_world = (grid.affine[:3, :3] / torch.tensor(grid.spacing_mm, dtype=torch.float64)).flip(1).T
    center = torch.tensor(grid.center_mm, dtype=torch.float64)
    positions = [
        whd_from_world @ (torch.tensor(p, dtype=torch.float64) - center) for p in (beam.source_mm, beam.detector_center_mm)
    ]
    axes = [whd_from_world @ torch.tensor(d, dtype=torch.float64) for d in (beam.col_direction, beam.row_direction)]
    projector = diffct.Projector(
        tuple(vector.float()[None].to(volume.device) for vector in positions + axes),
        grid.shape,
        (beam.detector.cols, beam.detector.rows),
        detector_spacing=beam.detector.pitch_mm[::-1],
        voxel_spacing=grid.spacing_mm,
    )
    inner = volume[0, 0]
    return lambda: projector.project(inner)[0].T


def _nanodrr(name: str, samples: int | None, backend: str, devices: tuple[str, ...]) -> Method:
    modules = ("nanodrr.data", "nanodrr.camera", "nanodrr.drr")
    return Method(name, "nanodrr", modules, partial(_bind_nanodrr, samples, backend), devices=devices)


def _methods() -> tuple[Method, ...]:
    ours = ("xct_components.physics.projector",)
    diffdrr = ("diffdrr.drr", "diffdrr.pose", "torchio")
    both = ("cpu", "cuda")
    return (
        Method("ours_area", "xct-components", ours, partial(_bind_ours, "area"), truth="pixel mean"),
        Method("ours_ray", "xct-components", ours, partial(_bind_ours, "ray")),
        _nanodrr("nanodrr_500", 500, "torch", both),
        _nanodrr("nanodrr_N", None, "torch", both),
        _nanodrr("nanodrr_fused", 500, "triton", ("cuda",)),
        Method("diffct_siddon", "diffct", ("diffct",), _bind_diffct, devices=("cuda",)),
        Method("diffdrr_trilinear", "diffdrr", diffdrr, partial(_bind_diffdrr, "trilinear")),
        Method("diffdrr_siddon", "diffdrr", diffdrr, partial(_bind_diffdrr, "siddon")),
        Method("rtk_joseph", "itk-rtk", ("itk",), _bind_rtk, differentiable=False, devices=("cpu",)),
    )


METHODS: dict[str, Method] = {method.name: method for method in _methods()}


def choose_methods(wanted: list[str], device: str) -> list[Method]:
    """The methods of the given names or families ("ours", "nanodrr", "diffdrr", "rtk") that run on ``device``, in table order.

    Raises:
        ValueError: if a name is neither a method nor a family.
    """
    known = {name for method in METHODS for name in (method, method.split("_")[0])}
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise ValueError(f"methods must be among {', '.join(sorted(known))}, got {', '.join(unknown)}")
    chosen = [m for m in METHODS.values() if m.name in wanted or m.name.split("_")[0] in wanted]
    return [method for method in chosen if device in method.devices]


def import_method(method: Method) -> list[Any]:
    """Import what a method needs.

    Raises:
        ImportError: if the package is not installed; the message says what to type.
    """
    try:
        return [importlib.import_module(name) for name in method.modules]
    except ImportError as missing:
        raise ImportError(f"not installed: pip install {method.package} ({missing})") from missing
