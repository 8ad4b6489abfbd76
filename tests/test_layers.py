"""The layer table of docs/architecture.md, enforced from the imports of every module of the package."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "xct_components"

# A part (a folder or file at the top of the package) may import the parts on lower layers. A new part must find its
# place here and in docs/architecture.md first.
LAYERS = {
    "geometry": 0,
    "failures": 0,
    "interruption": 0,
    "lean_monai": 0,
    "physics": 1,
    "diffusion": 1,
    "networks": 2,
    "data": 2,
    "losses": 2,
    "metrics": 2,
    "inferers": 3,
    "training": 3,
    "dicom": 3,
    "pacs": 3,
    "bundle_io": 4,
    "film_command": 4,
    "info_command": 4,
    "prepare_command": 4,
    "simulate_command": 4,
    "cascade": 5,
    "report": 5,
    "validate_stage_command": 5,
    "evaluation": 6,
    "trainer": 6,
    "report_page": 6,
    "calibrate_deviation_command": 7,
    "evaluate_command": 7,
    "hold_cts_command": 7,
    "join_stages_command": 7,
    "generated_files": 7,
    "batch": 8,
    "generate_command": 9,
    "demo": 10,
    "pacs_command": 10,
    "command_line": 11,
    "__main__": 12,
}
# What these parts may import beyond the standard library; the others may import anything that is declared.
ONLY_LIBRARIES = {"geometry": {"torch", "jaxtyping"}, "failures": set[str](), "interruption": set[str]()}
# Pure functions: the network is a callable that others pass in.
WITHOUT_MODULES = {"geometry", "physics", "diffusion"}
EMPTY_NAMES = {"utils", "util", "misc", "helpers", "helper", "common"}
MOST_LINES = 400


@dataclass(frozen=True)
class Source:
    """One module of a package."""

    package: str
    path: tuple[str, ...]  # folders and file name without ending, below the package
    text: str

    @property
    def part(self) -> str:
        return self.path[0]

    def imports(self) -> Iterator[tuple[str, str]]:
        """(name it gets here, absolute name) of everything imported; the first is empty for a plain ``import a.b``."""
        for node in ast.walk(ast.parse(self.text)):
            if isinstance(node, ast.Import):
                yield from ((alias.asname or "", alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                above = (self.package, *self.path)[: -node.level or None] if node.level else ()
                module = ".".join([*above, node.module or ""]).strip(".")
                yield from ((alias.asname or alias.name, f"{module}.{alias.name}") for alias in node.names)

    def base_classes(self) -> Iterator[tuple[str, str]]:
        """(class, absolute name of a base class) of every class."""
        meaning = dict(self.imports())
        for node in ast.walk(ast.parse(self.text)):
            if isinstance(node, ast.ClassDef):
                for base in node.bases:
                    first, _, rest = ast.unparse(base).partition(".")
                    yield node.name, f"{meaning.get(first, first)}.{rest}".strip(".")


def sources(folder: Path) -> list[Source]:
    return [
        Source(folder.name, path.relative_to(folder).with_suffix("").parts, path.read_text(encoding="utf-8"))
        for path in sorted(folder.rglob("*.py"))
    ]


def breaches(source: Source) -> Iterator[str]:
    """Every rule that a module breaks, with the way out."""
    lines = len(source.text.splitlines())
    if lines > MOST_LINES:
        yield f"{lines} lines, more than {MOST_LINES}; give its second concept a file of its own"
    for name in sorted(EMPTY_NAMES.intersection(source.path)):
        yield f"the name '{name}' says nothing; name it after the concept inside"
    imported = {name for _, name in source.imports() if not name.startswith("__future__.")}
    if source.part == "__init__":
        yield from (f"imports {name}; importing the package must do nothing" for name in imported)
    elif source.part not in LAYERS:
        yield f"'{source.part}' has no layer; add it to LAYERS in tests/test_layers.py and to docs/architecture.md"
    else:
        yield from upward_imports(source, imported)
        yield from foreign_libraries(source, imported)
        yield from torch_modules(source)


def upward_imports(source: Source, imported: set[str]) -> Iterator[str]:
    parts = {name.split(".")[1] for name in imported if name.startswith(f"{source.package}.")}
    for part in sorted(parts & set(LAYERS) - {source.part}):
        if LAYERS[part] >= LAYERS[source.part]:
            yield f"layer {LAYERS[source.part]} imports '{part}' of layer {LAYERS[part]}; imports only go down"


def foreign_libraries(source: Source, imported: set[str]) -> Iterator[str]:
    libraries = {name.split(".")[0] for name in imported} - sys.stdlib_module_names - {source.package}
    for library in sorted(libraries - ONLY_LIBRARIES.get(source.part, libraries)):
        yield f"imports {library}; '{source.part}' stays free of it"


def torch_modules(source: Source) -> Iterator[str]:
    for name, base in source.base_classes() if source.part in WITHOUT_MODULES else ():
        if base.startswith("torch.nn."):
            yield f"class {name} is a torch.nn.Module; '{source.part}' holds functions, the caller passes the network"


def report(folder: Path) -> list[str]:
    return [f"{'/'.join(source.path)}.py: {breach}" for source in sources(folder) for breach in breaches(source)]


def test_the_package_keeps_the_layer_table():
    assert report(PACKAGE) == []


def test_the_table_was_held_against_the_whole_package():
    assert {"__init__", "geometry", "physics"} <= {source.part for source in sources(PACKAGE)}


WRONG = {
    "an upward import": ("geometry/grid.py", "from xct.physics import projector", "imports 'physics' of layer 1"),
    "a plain upward import": ("physics/projector.py", "import xct.data.ct", "imports 'data' of layer 2"),
    "a relative upward import": ("physics/projector.py", "from ..dicom import ct_writer", "imports 'dicom' of layer 3"),
    "a relative import of a whole part": ("physics/projector.py", "from .. import dicom", "imports 'dicom' of layer 3"),
    "an upward import inside a function": ("data/ct.py", "def f():\n    import xct.cascade", "imports 'cascade' of layer 5"),
    "an import within a layer": ("losses/drr.py", "from xct.metrics.image import psnr", "imports 'metrics' of layer 2"),
    "numpy in geometry": ("geometry/grid.py", "import numpy as np", "imports numpy"),
    "a library in failures": ("failures.py", "from torch import Tensor", "imports torch"),
    "a network in physics": (
        "physics/drr.py",
        "import torch\nclass Drr(torch.nn.Module): ...",
        "class Drr is a torch.nn.Module",
    ),
    "a network by another name": ("diffusion/net.py", "from torch.nn import Module as M\nclass Net(M): ...", "class Net is a"),
    "a layer as a network": ("diffusion/net.py", "from torch import nn\nclass Gate(nn.Linear): ...", "class Gate is a"),
    "a package that loads torch": ("__init__.py", "import torch", "importing the package must do nothing"),
    "a part of no layer": ("wizardry/spell.py", "", "'wizardry' has no layer; add it to LAYERS"),
    "a file of no layer": ("spell.py", "", "'spell' has no layer; add it to LAYERS"),
    "a name that says nothing": ("data/utils.py", "", "the name 'utils' says nothing"),
    "a folder that says nothing": ("data/helpers/ct.py", "", "the name 'helpers' says nothing"),
    "a file that holds too much": ("data/ct.py", "x = 1\n" * 401, "401 lines, more than 400"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_breach_of_the_table_is_found(name, tmp_path):
    path, text, expected = WRONG[name]
    file = tmp_path / "xct" / path
    file.parent.mkdir(parents=True)
    file.write_text(text)
    (found,) = report(tmp_path / "xct")
    assert found.startswith(f"{path}: ")
    assert expected in found


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("physics/projector.py", "from xct.geometry import Beam\nfrom xct.physics.rays import trace\nfrom .rays import trace"),
        ("physics/rays.py", "import torch\nclass Rays(torch.autograd.Function): ...\nimport torch.nn.functional as F"),
        ("networks/unet.py", "from torch import nn\nfrom xct.diffusion import schedule\nclass UNet(nn.Module): ..."),
        ("__main__.py", "from xct import __version__, demo"),
        (
            "geometry/grid.py",
            "from __future__ import annotations\nimport math\nfrom torch import Tensor\nfrom jaxtyping import Float",
        ),
        ("data/ct.py", "x = 1\n" * 400),
    ],
)
def test_what_the_table_allows_passes(path, text, tmp_path):
    file = tmp_path / "xct" / path
    file.parent.mkdir(parents=True)
    file.write_text(text)
    assert report(tmp_path / "xct") == []
