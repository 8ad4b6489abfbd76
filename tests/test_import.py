"""Importing is cheap and does nothing; what is imported is declared."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest needs it there, so it is installed

ROOT = Path(__file__).parent.parent
# Import name -> distribution, where the two differ.
DISTRIBUTIONS = {
    "PIL": "pillow",
    "dicomweb_client": "dicomweb-client",
    "ignite": "pytorch-ignite",
    "jpeg_ls": "pyjpegls",
    "openjpeg": "pylibjpeg-openjpeg",
    "skimage": "scikit-image",
}
# Parts that hold subclasses of MONAI's classes, so that they cannot be imported without it.
OF_MONAI = ("xct_components.inferers.", "xct_components.bundle_io.")
HEAVY = {"highdicom", "itk", "matplotlib", "monai", "nibabel", "pydicom", "pynetdicom", "requests", "skimage", "tkinter"}


def fresh_python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """``code`` in an interpreter of its own, without a display, in an empty folder."""
    environment = {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "HOME": str(folder), "MPLCONFIGDIR": str(folder)}
    return subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=True)


def loaded_by(statement: str, folder: Path) -> set[str]:
    """Top-level packages that ``statement`` brings into a fresh interpreter."""
    listing = fresh_python(f"import sys\n{statement}\nprint('loaded:', *sorted(sys.modules), sep='\\n')", folder).stdout
    return {name.split(".")[0] for name in listing.split("loaded:\n")[1].split()}


def test_importing_the_package_loads_nothing(tmp_path):
    assert loaded_by("import xct_components", tmp_path) & (HEAVY | {"torch", "numpy", "fire", "jaxtyping"}) == set()


def test_importing_the_package_prints_and_writes_nothing(tmp_path):
    done = fresh_python("import xct_components", tmp_path)
    assert done.stdout + done.stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_geometry_needs_torch_alone(tmp_path):
    loaded = loaded_by("import xct_components.geometry", tmp_path)
    assert "torch" in loaded
    assert loaded & HEAVY == set()


def test_no_module_loads_an_image_library_before_it_is_used(tmp_path):
    everything = (
        "import pkgutil, xct_components as x\nfor m in pkgutil.walk_packages(x.__path__, 'xct_components.'):\n"
        f"    if not m.name.startswith({OF_MONAI}): __import__(m.name)"
    )
    assert loaded_by(everything, tmp_path) & HEAVY == set()


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["simulate", "--help"], ["simulate", "--no-such-option"]])
def test_the_command_line_answers_without_torch(arguments, tmp_path):
    loaded = loaded_by(f"from xct_components.__main__ import main\nmain({arguments})", tmp_path)
    assert "fire" in loaded
    assert loaded & (HEAVY | {"torch", "numpy"}) == set()


def test_every_library_the_package_imports_is_a_dependency_or_a_user_extra():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    declared = {line.split(">=")[0] for line in project["dependencies"] + extras["dicom"] + extras["report"] + extras["train"]}
    declared |= {line.split(">=")[0] for line in extras["pacs"]}
    for path in (ROOT / "xct_components").rglob("*.py"):
        undeclared = {DISTRIBUTIONS.get(name, name) for name in libraries_of(path)} - declared
        assert not undeclared, f"{path.name} imports {undeclared}; declare it in pyproject.toml with a reason"


def libraries_of(path: Path) -> set[str]:
    """Third-party packages that a module imports anywhere in its text."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    return {name.split(".")[0] for name in names} - sys.stdlib_module_names - {"xct_components"}
