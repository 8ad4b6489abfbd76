"""What ends a bundle's run is told in a line, with the documented exit code; of the engines nobody hears about it."""

from __future__ import annotations

import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from tests.bundles.prepared_folder import prepared_folder
from tests.bundles.tiny_bundles import TINY_SIZE, copied_bundles
from tests.limited_process import ended, started
from xct_components.bundle_io.parent_stages import WEIGHTS
from xct_components.bundle_io.plain_failures import ending_of, failure_behind
from xct_components.failures import INTERRUPTED, ExitCode, OutOfResources, RefusedInput, UsageFailure, WeightsFailure

FILM = Path(__file__).parents[1] / "data" / "films" / "00000001_000.png"
#: No machine has so many bytes: asking for them is a real want of memory.
TOO_LARGE = "$lambda item: torch.empty(1 << 50)"
BRIEF = ("--max_epochs", "1", "--real_repeats", "2", "--phantom_count", "0", "--batch_size", "1", "--case_cache", "none")


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    return copied_bundles(tmp_path_factory.mktemp("bundles"))


@pytest.fixture(scope="module")
def turned(tmp_path_factory):
    """A film that calibration refuses: upside down."""
    file = tmp_path_factory.mktemp("films") / "turned.png"
    Image.fromarray(np.rot90(np.asarray(Image.open(FILM)), 2).copy()).save(file)
    return file


def inference(bundle: Path, *settings: str) -> tuple[str, ...]:
    """The arguments of an inference, of MONAI's runner."""
    return ("run", "--config_file", str(bundle / "configs" / "inference.json"), "--bundle_root", str(bundle), *settings)


@pytest.mark.parametrize(
    ("settings", "code", "message"),
    [
        (["--stpes", "4"], ExitCode.USAGE, "inference.json has no such setting: stpes"),
        (
            ["--accept", "true"],
            ExitCode.USAGE,
            "True and False are written with a capital letter; else MONAI takes a text: accept",
        ),
        (["--ckpt_path", "nowhere.pt"], ExitCode.WEIGHTS, "no weights: nowhere.pt cannot be read"),
    ],
)
def test_a_failure_before_the_run_ends_it_in_one_line(settings, code, message, bundles):
    bundle = bundles / "stage1"
    returned, _, complained = ended("monai.bundle", *inference(bundle, *settings, "--input", str(bundle / WEIGHTS)))
    (line,) = complained
    assert (returned, line[: len(message) + 5]) == (code, f"xct: {message}")


def test_a_refused_film_ends_the_run_in_one_line_and_the_engines_say_nothing_of_it(bundles, turned, tmp_path):
    bundle, out = bundles / "stage3", ("--output_dir", str(tmp_path / "out"))
    code, said, complained = ended("monai.bundle", *inference(bundle, "--input", str(turned), *out))
    (line,) = complained
    assert line.startswith("xct: turned.png refused: it looks like another view")
    assert code == ExitCode.REFUSED
    # What MONAI says of every run (how it was called; that the engine begins), nothing after that.
    assert "Engine run resuming" in said[-1]
    assert not any("ERROR" in line or "Exception" in line or "Traceback" in line for line in said)
    assert list(tmp_path.iterdir()) == []


def test_who_asks_for_it_sees_where_a_film_was_refused(bundles, turned, tmp_path):
    settings = ("--input", str(turned), "--output_dir", str(tmp_path))
    code, said, complained = ended("monai.bundle", *inference(bundles / "stage1", *settings), XCT_TRACEBACK="1")
    assert (code, complained[-1][:26]) == (ExitCode.REFUSED, "xct: turned.png refused: i")
    assert any("read_film.py" in line for line in complained)
    assert any("ERROR ignite" in line for line in said)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_case_ends_a_training_in_one_line(workers, bundles, tmp_path):
    prepared = prepared_folder(tmp_path / "prepared", TINY_SIZE.values())
    case = prepared / "first-16.nii.gz"
    case.write_bytes(case.read_bytes()[:300])
    bundle = bundles / "stage1"
    documents = ("--config_file", str(bundle / "configs" / "train.json"), "--bundle_root", str(bundle))
    # Weights that were measured, or the case would be read for its statistics, which this process does itself.
    loading = ("--num_workers", str(workers), "--initial_weights", str(bundle / WEIGHTS))
    code, said, complained = ended("monai.bundle", "run", *documents, "--dataset_dir", str(prepared), *BRIEF, *loading)
    assert code == ExitCode.UNREADABLE
    assert complained[-1] == "xct: first cannot be read; run `xct prepare` again to repair it"
    assert not any("ERROR" in line or "Traceback" in line for line in [*said, *complained])


def test_a_want_of_memory_in_the_run_is_one_line_with_a_way_out(bundles, tmp_path):
    settings = ("--input", str(FILM), "--output_dir", str(tmp_path), "--postprocessing", TOO_LARGE)
    code, said, complained = ended("monai.bundle", *inference(bundles / "stage2", *settings))
    assert code == ExitCode.OUT_OF_RESOURCES
    advice = "take fewer samples, the bundle of an earlier stage or a larger machine"
    assert complained == [f"xct: out of memory; {advice}"]
    assert "Engine run resuming" in said[-1]
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_the_program_keeps_its_traceback(bundles, tmp_path):
    settings = ("--input", str(FILM), "--output_dir", str(tmp_path), "--postprocessing", "$lambda item: item['nothing']")
    code, said, complained = ended("monai.bundle", *inference(bundles / "stage1", *settings))
    assert code == ExitCode.UNEXPECTED
    assert "Traceback (most recent call last):" in complained
    assert any("KeyError: 'nothing'" in line for line in complained)
    assert any("ERROR ignite" in line for line in said)
    assert not any(line.startswith("xct: ") for line in complained)


@pytest.mark.parametrize("moment", ["film*_ct.json", ".part-*"])  # a film is done; one is being written
def test_an_interruption_is_one_line_and_leaves_nothing_but_whole_films(moment, bundles, tmp_path):
    films, out, count = tmp_path / "films", tmp_path / "out", 60
    films.mkdir()
    for number in range(count):
        shutil.copyfile(FILM, films / f"film{number:02}.png")
    process = started("monai.bundle", *inference(bundles / "stage1", "--input", str(films), "--output_dir", str(out)))
    while process.poll() is None and not any(out.glob(moment)):
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    said, complained = process.communicate()
    assert process.returncode == ExitCode.INTERRUPTED, complained
    assert complained.splitlines() == [f"xct: {INTERRUPTED}"]
    assert not any("ERROR" in line or "Traceback" in line for line in said.splitlines())
    names = {path.name for path in out.iterdir()}
    done = {name.removesuffix("_ct.json") for name in names if name.endswith("_ct.json")}
    assert len(done) < count
    assert done or moment.startswith(".part")
    assert names == {f"{one}_ct{ending}" for one in done for ending in (".nii.gz", ".json")}


def test_the_failure_behind_an_error_is_found_however_deep():
    failure = WeightsFailure("no weights")
    with pytest.raises(RuntimeError) as wrapped:  # noqa: PT012 - as MONAI wraps it
        try:
            raise failure
        except WeightsFailure as error:
            raise RuntimeError("Failed to instantiate component") from error
    outer = ValueError("outer")
    outer.__context__ = wrapped.value
    assert failure_behind(outer) is failure
    assert failure_behind(UsageFailure("x")) is not None
    assert failure_behind(RuntimeError("a fault of the program")) is None


def test_an_error_that_stands_for_itself_is_not_told_as_the_failure_before_it():
    error = KeyError("a fault of the program")
    with pytest.raises(KeyError) as caught:  # noqa: PT012 - the failure before it is what matters
        try:
            raise WeightsFailure("no weights")
        except WeightsFailure:
            raise error from None
    assert caught.value.__context__ is not None
    assert ending_of(error) is None


class RefusedCases(Dataset[int]):
    """Cases of which each is refused."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        raise RefusedInput(f"case {index} is refused: it is no chest. Leave it out")


def test_a_failure_in_a_process_that_loads_data_is_told_without_the_traceback_of_that_process():
    with pytest.raises(RefusedInput, match="Traceback") as caught:
        next(iter(DataLoader(RefusedCases(), num_workers=1)))
    assert ending_of(caught.value) == ("case 0 is refused: it is no chest. Leave it out", ExitCode.REFUSED)


def test_every_kind_of_ending_has_its_code():
    assert ending_of(KeyboardInterrupt()) == (INTERRUPTED, ExitCode.INTERRUPTED)
    assert ending_of(OutOfResources("256 voxels\nneed more")) == ("256 voxels need more", ExitCode.OUT_OF_RESOURCES)
    assert ending_of(MemoryError(), "buy more") == ("out of memory; buy more", ExitCode.OUT_OF_RESOURCES)
    assert ending_of(ValueError("a fault of the program")) is None
