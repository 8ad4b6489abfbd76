"""report.html as a person opens it: it works, it asks for nothing, left is left, and its numbers are those of the NIfTI."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from tests.report_page.browser import Browser
from tests.report_page.results import CENTER_MM, result
from xct_components.generated_files import free_targets, write_generated
from xct_components.inferers.generated_ct import GeneratedCt
from xct_components.report_page.page import write_page

READY = "document.documentElement.dataset.viewer"
#: From the middle of the field: the ball in the left lung, the mirrored place, and somewhere else.
BALL_MM, MIRRORED_MM, ELSEWHERE_MM = (-75.0, 10.0, 20.0), (75.0, 10.0, 20.0), (12.3, -41.0, -66.6)
#: HU in steps of 4; the deviation in steps of 8 of means of 2 x 2 x 2 voxels, of a ramp of 13 HU per voxel.
CT_STEP_HU, STD_TOLERANCE_HU = 4.0, 24.0
#: Among voxels that are all alike; and the steps of the page's copies of members and CT, half of each.
IN_THE_HEART_MM, MEMBER_STEP_HU = (0.0, 20.0, 20.0), 6.0
#: A black canvas has 0; a chest in any window far more.
LEAST_CONTRAST = 20.0


@pytest.fixture(scope="module")
def opened(browser: Browser, viewer: str, ct: GeneratedCt, tmp_path_factory: pytest.TempPathFactory) -> Browser:
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_page(path, ct)
    browser.open(path.as_uri())
    assert browser.wait_for(READY) == "ready"
    return browser


def at(offset_mm: tuple[float, float, float]) -> np.ndarray:
    return np.array(CENTER_MM) + offset_mm


def go_to(browser: Browser, place_mm: np.ndarray) -> None:
    """Follow a link to a place; the read-out follows."""
    browser.value(f"void (location.hash = 'mm={','.join(f'{mm:.2f}' for mm in place_mm)}')")
    browser.value("new Promise((done) => setTimeout(done, 50))")


def canvas(browser: Browser, name: str) -> np.ndarray:
    """What is seen of a canvas, grey."""
    browser.value(f"document.getElementById('{name}').scrollIntoView({{block: 'center'}})")
    left, top, right, low = browser.value(
        f"(() => {{ const box = document.getElementById('{name}').getBoundingClientRect();"
        "return [box.left, box.top, box.right, box.bottom].map(Math.round) })()"
    )
    return browser.picture()[max(0, top) : low, max(0, left) : right].mean(axis=2)


def test_place_and_hu_at_the_crosshair_are_those_of_the_nifti(opened, ct, tmp_path):
    targets = free_targets(tmp_path / "out", ["nifti"], with_std=True, overwrite=False)
    write_generated(targets, ct, tmp_path / "film.png")
    ct_image, std_image = (nibabel.load(tmp_path / "out" / name) for name in ("ct.nii.gz", "std.nii.gz"))
    for offset_mm in (BALL_MM, MIRRORED_MM, ELSEWHERE_MM):
        place = at(offset_mm)
        go_to(opened, place)
        voxel = tuple(np.rint(np.linalg.solve(ct_image.affine, [*place, 1.0]))[:3].astype(int))
        hu, _, _, std = opened.value("document.getElementById('hu').textContent").split()
        assert float(hu) == pytest.approx(float(ct_image.dataobj[voxel]), abs=CT_STEP_HU / 2)
        assert float(std) == pytest.approx(float(std_image.dataobj[voxel]), abs=STD_TOLERANCE_HU)
        said = [opened.value(f"document.getElementById('at-{axis}').textContent").split() for axis in "xyz"]
        signs = [{"R": 1, "L": -1, "A": 1, "P": -1, "H": 1, "F": -1}[letter] for letter, _, _ in said]
        shown = [sign * float(mm) for sign, (_, mm, _) in zip(signs, said, strict=True)]
        np.testing.assert_allclose(shown, place, atol=0.06)  # one decimal is shown


def test_the_patients_left_is_on_the_viewers_right(opened):
    go_to(opened, at(BALL_MM))
    opened.value("document.querySelector('[data-window=lung]').click(), document.querySelector('[data-show=coronal]').click()")
    seen = canvas(opened, "planes")
    opened.value("document.querySelector('[data-show=all]').click()")
    rows, cols = seen.shape
    mm_per_pixel = 320.0 / min(rows, cols)
    row, shift = rows / 2 - BALL_MM[2] / mm_per_pixel, 75.0 / mm_per_pixel
    # Beside the lines of the crosshair, which meet in the ball.
    viewers_right, viewers_left = (_patch(seen, row, cols / 2 + side * shift) for side in (1, -1))
    assert viewers_right > viewers_left + 30.0


def _patch(seen: np.ndarray, row: float, col: float) -> float:
    return float(seen[int(row) + 3 : int(row) + 9, int(col) + 3 : int(col) + 9].mean())


def test_the_keys_move_the_crosshair_as_the_picture_says(opened):
    go_to(opened, at((0.0, 0.0, 0.0)))
    before = opened.value("document.getElementById('at-x').textContent")
    opened.value("document.getElementById('planes').focus()")
    opened.ask("Input.dispatchKeyEvent", type="keyDown", key="ArrowRight", code="ArrowRight")
    opened.ask("Input.dispatchKeyEvent", type="keyUp", key="ArrowRight", code="ArrowRight")
    after = opened.wait_for(f"(({{textContent: now}}) => now === '{before}' ? '' : now)(document.getElementById('at-x'))")
    assert float(after.split()[1]) < float(before.split()[1])  # both R of the origin: to the viewer's right is to the left


STILL = "[...document.querySelectorAll('#still img')].filter((one) => one.offsetWidth > 100 && one.naturalWidth).length"
#: Two windows and the deviation, three planes each.
PLANES = 9


def test_on_paper_the_pictures_stand_still(opened):
    assert opened.value(STILL) == 0
    opened.ask("Emulation.setEmulatedMedia", media="print")
    try:
        assert opened.value(STILL) == PLANES
        assert not opened.value("document.getElementById('viewer').offsetWidth")
    finally:
        opened.ask("Emulation.setEmulatedMedia", media="")


def test_the_page_works_without_a_complaint_and_asks_for_nothing(opened):
    assert canvas(opened, "planes").std() > LEAST_CONTRAST
    opened.value("document.getElementById('solid').scrollIntoView()")
    assert opened.wait_for("document.documentElement.dataset.solid") == "ready"
    assert canvas(opened, "solid").std() > LEAST_CONTRAST
    for button in ("[data-window=bone]", "[data-solid=bone]", "#std-toggle"):
        opened.value(f"document.querySelector('{button}').click()")
    assert canvas(opened, "planes").std() > LEAST_CONTRAST
    assert opened.complaints() == []
    assert [url.partition("#")[0] for url in opened.requests()] == [opened.value("location.href").partition("#")[0]]


def test_another_volume_is_shown_at_the_same_place_and_the_mean_again(browser, viewer, tmp_path):
    """The members of this result are the chest, denser by 100 and by 200 HU."""
    write_page(tmp_path / "report.html", result(with_std=True, members=2))
    browser.open((tmp_path / "report.html").as_uri())
    assert browser.wait_for(READY) == "ready"
    browser.value("document.getElementById('solid').scrollIntoView()")
    assert browser.wait_for("document.documentElement.dataset.solid") == "ready"
    browser.value("document.querySelector('#std-toggle').click()")
    go_to(browser, at(IN_THE_HEART_MM))
    said = {}
    for name in ("member_2", "member_1", "ct"):
        browser.value(f"document.querySelector('[data-volume={name}]').click()")
        browser.wait_for(f"document.documentElement.dataset.volume === '{name}'")
        said[name] = browser.value("document.getElementById('hu').textContent")
        assert f"{name}.nii.gz holds all" in browser.value("document.getElementById('shown').textContent")
        place = [browser.value(f"document.getElementById('at-{axis}').textContent").split() for axis in "xyz"]
        assert max(abs(float(mm) - abs(there)) for (_, mm, _), there in zip(place, at(IN_THE_HEART_MM), strict=True)) < 0.06
        assert canvas(browser, "planes").std() > LEAST_CONTRAST
        assert canvas(browser, "solid").std() > LEAST_CONTRAST
    plain = float(said["ct"].split()[0])
    for number in (1, 2):
        assert float(said[f"member_{number}"].split()[0]) == pytest.approx(plain + 100.0 * number, abs=MEMBER_STEP_HU)
        assert "±" not in said[f"member_{number}"]  # the deviation is that of the mean
    assert "±" in said["ct"]
    assert browser.complaints() == []


def test_without_scripts_the_pictures_stand_still(browser, viewer, ct, tmp_path):
    write_page(tmp_path / "report.html", ct)
    browser.ask("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open((tmp_path / "report.html").as_uri())
        assert browser.value(STILL) == PLANES
        assert not browser.value("document.getElementById('viewer').offsetWidth")
    finally:
        browser.ask("Emulation.setScriptExecutionDisabled", value=False)


def test_without_the_viewer_the_page_says_how_to_get_it(browser, without_viewer, ct, tmp_path):
    write_page(tmp_path / "report.html", ct)
    browser.open((tmp_path / "report.html").as_uri())
    assert browser.value(STILL) == PLANES
    assert "fetch_viewer.py" in browser.value("document.body.innerText")
    assert browser.complaints() == []
