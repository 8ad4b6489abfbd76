"""Commands that make CTs load MONAI without the libraries that no film uses; results and other imports stay as they are."""

from __future__ import annotations

import json
import sys

from tests.test_import import ROOT, fresh_python
from xct_components.lean_monai import NOT_ASKED, load_lean_monai

LOADED = "import sys, json\nfrom xct_components.lean_monai import NOT_ASKED, load_lean_monai\n"
#: What the cascade runs, as bits: a real film, read, calibrated, made a CT of 64 voxels along each edge.
BITS = f"""
import hashlib
from xct_components.batch.film_run import FilmRun
run = FilmRun(("nifti",), stages=1)
ct = run.generate(run.load({str(ROOT / "bundles")!r}), {str(ROOT / "tests/data/films/00000001_000.png")!r})
print(json.dumps([hashlib.sha256(ct.volume.as_tensor().numpy().tobytes()).hexdigest(), "ignite" in sys.modules]))
"""


def told(code, folder):
    return json.loads(fresh_python(LOADED + code, folder).stdout.splitlines()[-1])


def test_what_no_film_uses_is_not_loaded(tmp_path):
    loaded = told("load_lean_monai()\nprint(json.dumps([n for n in NOT_ASKED if n in sys.modules]))", tmp_path)
    assert loaded == []


def test_whoever_needs_such_a_library_afterwards_gets_it(tmp_path):
    code = "load_lean_monai()\nimport ignite, scipy.signal\nprint(json.dumps([ignite.__name__, scipy.signal.__name__]))"
    assert told(code, tmp_path) == ["ignite", "scipy.signal"]


def test_the_ct_of_a_film_is_the_same_to_the_bit(tmp_path):
    lean, whole = told(BITS, tmp_path), told("import monai.bundle" + BITS, tmp_path)
    assert [lean[1], whole[1]] == [False, True]  # or both runs were of one kind
    assert lean[0] == whole[0]


def test_a_process_that_has_loaded_monai_keeps_all_of_it():
    from monai.engines import SupervisedTrainer

    before = set(sys.modules)
    load_lean_monai()
    assert set(sys.modules) == before
    assert any(base.__module__.startswith("ignite") for base in SupervisedTrainer.__mro__)
    assert all(sys.modules.get(name, 1) is not None for name in NOT_ASKED)
