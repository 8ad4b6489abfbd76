"""What the documents say is what the code does."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from xct_components.failures import ExitCode

ROOT = Path(__file__).parent.parent
DOCUMENTS = [
    "README.md",
    "CONTRIBUTING.md",
    "docs/architecture.md",
    "docs/batch.md",
    "docs/bundles.md",
    "docs/conventions.md",
    "docs/data.md",
    "docs/hospital.md",
    "docs/deploy.md",
    "docs/metrics.md",
    "docs/monailabel.md",
    "docs/pacs.md",
    "docs/report.md",
    "docs/training.md",
    "docs/phantom.md",
    "docs/protocols.md",
]
# A newcomer reads one screen.
FIRST_SCREEN_LINES = 40


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_python_example_of_the_readme_runs(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    (example,) = re.findall(r"```python\n(.*?)```", text_of("README.md"), flags=re.DOTALL)
    (tmp_path / "example.py").write_text(example)
    names = runpy.run_path(str(tmp_path / "example.py"))
    assert tuple(names["films"].shape) == (1, 2, 1, 256, 256)
    assert names["mu_per_mm"].grad.abs().sum() > 0
    assert names["ct"].volume.shape == names["ct"].std.shape == (1, 64, 64, 64)


def test_the_two_commands_are_on_the_first_screen():
    first_screen = "\n".join(text_of("README.md").splitlines()[:FIRST_SCREEN_LINES])
    assert "make demo" in first_screen
    assert "make test" in first_screen
    assert "Not a medical device" in first_screen


def test_every_exit_code_is_documented():
    table = text_of("docs/conventions.md").split("## Exit codes")[1]
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", table, flags=re.MULTILINE)}
    assert documented == {code.value for code in ExitCode}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_within_the_repository_lead_somewhere(name):
    targets = re.findall(r"\]\((?!https?://)([^)#]+)\)", text_of(name))
    assert [target for target in targets if not ((ROOT / name).parent / target).exists()] == []
