"""Random geometry for property tests: oblique and sheared volumes, rigs anywhere in the room."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from xct_components.geometry import Beam, ConeBeam, Detector, ParallelBeam, VolumeGrid


def numbers(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_nan=False, allow_subnormal=False)


def vectors(limit_mm: float) -> st.SearchStrategy[tuple[float, float, float]]:
    return st.tuples(*[numbers(-limit_mm, limit_mm)] * 3)


@st.composite
def rotations(draw: st.DrawFn) -> np.ndarray:
    """3x3, from a random quaternion."""
    quaternion = np.array(draw(st.tuples(*[numbers(-1, 1)] * 4).filter(lambda q: np.linalg.norm(q) > 0.1)))
    w, x, y, z = quaternion / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


@st.composite
def rigid_motions(draw: st.DrawFn) -> np.ndarray:
    motion = np.eye(4)
    motion[:3, :3] = draw(rotations())
    motion[:3, 3] = draw(vectors(500))
    return motion


@st.composite
def affines(draw: st.DrawFn) -> np.ndarray:
    """4x4: spacing 0.3 to 8 mm, shear (gantry tilt) up to 0.5, flips, any orientation."""
    affine = draw(rigid_motions())
    shear = np.eye(3)
    shear[0, 1], shear[0, 2], shear[1, 2] = draw(st.tuples(*[numbers(-0.5, 0.5)] * 3))
    spacing = draw(st.tuples(*[numbers(0.3, 8.0)] * 3))
    signs = draw(st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3))
    affine[:3, :3] = affine[:3, :3] @ shear @ np.diag(np.multiply(spacing, signs))
    return affine


def shapes() -> st.SearchStrategy[tuple[int, int, int]]:
    return st.tuples(*[st.integers(1, 600)] * 3)


def volume_grids() -> st.SearchStrategy[VolumeGrid]:
    return st.builds(VolumeGrid.from_affine, shapes(), affines())


def detectors() -> st.SearchStrategy[Detector]:
    return st.builds(Detector, st.integers(1, 3000), st.integers(1, 3000), st.tuples(*[numbers(0.05, 10.0)] * 2))


@st.composite
def cone_beams(draw: st.DrawFn) -> ConeBeam:
    turn, center = draw(rotations()), np.array(draw(vectors(2000)))
    source = center + turn @ np.array(
        [draw(numbers(-300, 300)), draw(numbers(-300, 300)), draw(st.sampled_from([-1, 1])) * draw(numbers(100, 4000))]
    )
    return ConeBeam(draw(detectors()), tuple(center), tuple(turn[:, 0]), tuple(turn[:, 1]), source_mm=tuple(source))


@st.composite
def parallel_beams(draw: st.DrawFn) -> ParallelBeam:
    turn, tilt = draw(rotations()), draw(numbers(-1, 1))
    ray = turn @ np.array([np.sin(tilt), 0.0, np.cos(tilt)])
    return ParallelBeam(
        draw(detectors()), draw(vectors(2000)), tuple(turn[:, 0]), tuple(turn[:, 1]), ray_direction=tuple(ray.tolist())
    )


def beams() -> st.SearchStrategy[Beam]:
    return st.one_of(cone_beams(), parallel_beams())
