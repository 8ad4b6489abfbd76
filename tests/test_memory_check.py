"""Too little memory is told before the work, by each way that leads to a CT; and where it runs out later, too."""

from __future__ import annotations

import errno
import inspect
import os
import re

import pytest

from tests.generate_runs import REAL_FILM
from tests.limited_process import ROOT, ended
from xct_components.__main__ import LESS_MEMORY
from xct_components.command_line import COMMANDS
from xct_components.failures import ExitCode, OutOfResources, is_out_of_memory

MIB = 1 << 20
#: With what the libraries hold, 0.3 to 0.5 GiB, so much leaves 1.0 to 1.2 GiB: between what the stages 2 (0.8 GiB) and 3
#: (1.7 GiB) need.
FOR_TWO_STAGES = 700 * MIB
#: Likewise for stage 3 at its own size, not at full size (4.1 GiB).
FOR_THREE_STAGES = 1600 * MIB
#: Enough to start, too little for the networks.
FOR_NOTHING = 20 * MIB

PYTHON = """
import sys
from xct_components.cascade import UnifiedHybridViTCascade
from xct_components.failures import OutOfResources
cascade = UnifiedHybridViTCascade.from_pretrained("bundles")
for settings in ({}, {"full_size": True}):
    try:
        cascade.generate(sys.argv[1], **settings)
    except OutOfResources as failure:
        print(failure)
"""

#: Loads weights with so much and so much memory beyond what is mapped, and without limit; says how that ended.
LOADING = """
import resource, sys
from pathlib import Path
from types import SimpleNamespace
import torch
from torch import nn
from xct_components.training.case_order import CaseOrder
from xct_components.training.training_state import TrainingState
from xct_components.bundle_io.stage_document import StageDocument
from xct_components.bundle_io.stage_weights import StageWeights
from xct_components.failures import is_out_of_memory

held = []  # or what one load leaves is enough for the next

def ending(load, beyond_mib):
    before = resource.getrlimit(resource.RLIMIT_AS)
    mapped = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    if beyond_mib:
        resource.setrlimit(resource.RLIMIT_AS, (mapped + (beyond_mib << 20), before[1]))
    try:
        held.append(load())
        said = "loaded"
    except Exception as error:
        said = f"{type(error).__name__}, {'short of memory' if is_out_of_memory(error) else error}"
    resource.setrlimit(resource.RLIMIT_AS, before)
    return said

if sys.argv[1] == "weights":
    network, file = nn.Linear(1 << 10, 1 << 12), Path(sys.argv[2])  # 16 MiB
    torch.save(network.state_dict(), file)
    load = lambda: StageWeights().load(network, file)
elif sys.argv[1] == "checkpoint":
    file, order = Path(sys.argv[2]), CaseOrder(range(4))
    record = SimpleNamespace(same=dict)
    state, loader = SimpleNamespace(iteration=0, epoch=0, epoch_length=4), SimpleNamespace(batch_size=1)
    begun = SimpleNamespace(state=state, data_loader=loader)
    model = nn.Linear(1 << 10, 1 << 12)
    TrainingState(file, {"model": model}, order, record=record).save(begun)
    load = lambda: TrainingState(file, {"model": model}, order, record=record).restore(begun)
else:
    load = lambda: StageDocument("bundles/stage1").stage()
    held.append(load())  # what is imported there
for beyond_mib in (*range(2, 40, 2), 0):
    print(ending(load, beyond_mib))
"""


def test_a_smaller_stage_is_offered_to_who_generates(tmp_path):
    for source in (REAL_FILM, REAL_FILM.parent):  # one film; a folder, of which none is begun
        output = tmp_path / source.stem
        code, _, complained = ended(
            "xct_components", "generate", str(source), "--output", str(output), beyond_bytes=FOR_TWO_STAGES
        )
        assert code == ExitCode.OUT_OF_RESOURCES, complained
        (line,) = complained
        assert line.startswith("xct: 256 x 256 x 256 voxels need about 1.7 GiB of memory, ")
        assert line.endswith(" GiB are available; it fits with stages 2 (0.8 GiB)")
        assert list(tmp_path.iterdir()) == []


def test_leaving_out_full_size_is_offered_to_who_asks_for_it(tmp_path):
    asked = ("generate", str(REAL_FILM), "--output", str(tmp_path / "out"), "--full_size", "True")
    code, _, complained = ended("xct_components", *asked, beyond_bytes=FOR_THREE_STAGES)
    (line,) = complained
    assert code == ExitCode.OUT_OF_RESOURCES
    assert line.startswith("xct: 512 x 604 x 512 voxels need about 4.1 GiB of memory, ")
    assert line.endswith("; it fits without full_size (1.7 GiB)")
    assert list(tmp_path.iterdir()) == []


def test_python_makes_the_same_check(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(PYTHON)
    _, said, complained = ended(str(script), str(REAL_FILM), beyond_bytes=FOR_TWO_STAGES)
    assert [line.rpartition("; ")[2] for line in said] == [
        "it fits with stages 2 (0.8 GiB)",
        "it fits without full_size and with stages 2 (0.8 GiB)",
    ], complained


def test_a_bundle_makes_the_same_check_and_names_the_bundle_that_fits(tmp_path):
    bundle = ROOT / "bundles" / "stage3"
    documents = ("--config_file", str(bundle / "configs" / "inference.json"), "--bundle_root", str(bundle))
    films = ("--input", str(REAL_FILM), "--output_dir", str(tmp_path / "out"))
    code, said, complained = ended("monai.bundle", "run", *documents, *films, beyond_bytes=FOR_TWO_STAGES)
    assert code == ExitCode.OUT_OF_RESOURCES
    (line,) = complained
    assert line.startswith("xct: 256 x 256 x 256 voxels need about 1.7 GiB of memory, ")
    assert line.endswith("; it fits with the bundle of stage 2 (0.8 GiB)")
    assert not any("ERROR" in line or "Traceback" in line for line in said)
    assert list(tmp_path.iterdir()) == []


def test_where_memory_runs_out_all_the_same_the_advice_is_that_of_the_command(tmp_path):
    asked = ("generate", str(REAL_FILM), "--output", str(tmp_path / "out"))
    code, _, complained = ended("xct_components", *asked, beyond_bytes=FOR_NOTHING)
    assert code == ExitCode.OUT_OF_RESOURCES
    assert complained == [
        "xct: out of memory; ask for fewer --stages, or leave out --full_size, --members or --samples, or use a larger machine"
    ]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", ["weights", "stage", "checkpoint"])
def test_weights_that_do_not_fit_into_memory_are_not_called_damaged(what, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(LOADING)
    _, said, complained = ended(str(script), what, str(tmp_path / "model.pt"))
    assert said[-1:] == ["loaded"], complained
    assert "RuntimeError, short of memory" in said  # as torch says it, or MONAI around it
    assert set(said) <= {"loaded", "RuntimeError, short of memory", "MemoryError, short of memory"}


@pytest.mark.parametrize("command", LESS_MEMORY)
def test_a_command_has_every_option_that_its_advice_names(command):
    named = set(re.findall(r"--(\w+)", LESS_MEMORY[command]))
    assert named <= set(inspect.signature(COMMANDS[command]).parameters)


def test_an_error_that_was_raised_from_a_want_of_memory_is_one():
    outer = RuntimeError("Failed to instantiate component")
    outer.__cause__ = RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 5222850 bytes")
    assert is_out_of_memory(outer)
    assert is_out_of_memory(OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)))
    assert is_out_of_memory(OutOfResources("256 x 256 x 256 voxels need about 1.7 GiB"))
    assert not is_out_of_memory(RuntimeError("Failed to instantiate component"))
