"""The published protocols by name: what each states, what it leaves open, and that a recipe without sense is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from xct_components.data.protocols.protocol import LIFTXR, PERX2CT, PROTOCOLS, PSCT, X2CT, protocol_named

DOCUMENT = Path(__file__).parents[2] / "docs" / "protocols.md"


def test_protocols_are_found_by_name():
    assert set(PROTOCOLS) == {"x2ct", "perx2ct", "psct", "liftxr"}
    assert all(protocol_named(name).name == name for name in PROTOCOLS)


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="x2ct, perx2ct, psct, liftxr, got 'x2ct-gan'"):
        protocol_named("x2ct-gan")


@pytest.mark.parametrize(
    ("protocol", "window_hu", "window_stored"),
    [(X2CT, (-1024, 1476), (0, 2500)), (PERX2CT, (-1024, 1476), (0, 2500)), (LIFTXR, (-1024, 1024), (0, 2048))],
)
def test_a_scored_volume_comes_back_as_hu(protocol, window_hu, window_stored):
    assert protocol.window_stored == window_stored
    ends = protocol.hu_of(torch.tensor([[[0.0, 0.5, 1.0]]])).flatten().tolist()
    assert ends == [window_hu[0], sum(window_hu) / 2, window_hu[1]]


def test_psct_scores_the_arrays_of_x2ct():
    assert replace(PSCT, name="x2ct", series=X2CT.series, leaked_patients=X2CT.leaked_patients) == X2CT


def test_perx2ct_differs_from_x2ct_in_mask_slice_order_resizing_and_tube():
    differing = {name for name, value in vars(X2CT).items() if getattr(PERX2CT, name) != value}
    assert differing == {"name", "body_mask", "stored_axes", "resized_before_clip", "films", "series"}
    assert replace(PERX2CT.films, source_to_axis_mm=541.0) == X2CT.films


def test_what_liftxr_does_not_publish_is_none():
    films = LIFTXR.films
    assert (LIFTXR.resize_order, films.pixels, films.size_mm, films.source_to_axis_mm) == (None, None, None, None)


@pytest.mark.parametrize(
    "change",
    [
        {"window_hu": (200.0, -200.0)},
        {"window_hu": (0.0, float("inf"))},
        {"model_voxels": 0},
        {"spacing_mm": -1.0},
        {"stored_axes": "LPS"},
        {"model_axes": "SP"},
    ],
)
def test_a_recipe_without_sense_is_refused(change):
    (name,) = change
    with pytest.raises(ValueError, match=f"{name} must be"):
        replace(X2CT, **change)


def test_every_protocol_is_described_with_its_numbers():
    text = DOCUMENT.read_text(encoding="utf-8")
    for protocol in PROTOCOLS.values():
        (section,) = [part for part in text.split("\n## ") if part.startswith(f"`{protocol.name}`")]
        for count in protocol.series:
            assert count is None or str(count) in section
        assert all(patient in section for patient in protocol.leaked_patients)
