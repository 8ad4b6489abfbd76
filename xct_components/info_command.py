"""``xct info``: what is installed, on what machine, with which weights; what is wrong with it. Loads no heavy library."""

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from xct_components import __version__
from xct_components.data.bundle_folder import STAGES, BundleFacts, bundle_facts, bundles_folder
from xct_components.data.file_hash import file_sha256
from xct_components.failures import MEANINGS, ExitCode, Failure, WeightsFailure, first_line

SCHEMA, SCHEMA_VERSION = "xct-info", 1
DISTRIBUTION = "xct-components"
#: Extras for those who work on the package, not with it.
OF_DEVELOPERS = ("bench", "dev")
_REQUIREMENT = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)[^;]*(?:;.*extra == ['\"](?P<extra>[^'\"]+)['\"])?")
#: Of the page of a run: NiiVue, which no extra brings.
VIEWER = Path(__file__).parent / "report_page" / "niivue.umd.js"
_NVIDIA = Path("/proc/driver/nvidia")
_SMI_SECONDS = 5.0


class NotComplete(Failure):
    """Something that every command needs is not installed."""


def info(*, json: bool = False, devices: bool = False, bundles: str | None = None) -> list[str]:
    """Say what is installed: versions, machine, devices, weights with their SHA-256, optional parts, exit codes.

    It is also how to verify an installation: what is wrong is said with the way out, and the exit code is then not 0
    (5 for weights).

    Args:
        json: for programs, as JSON.
        devices: ask torch too, which takes seconds to load.
        bundles: folder with stage1, stage2 and stage3 (default - XCT_BUNDLES, ./bundles, or the one beside the package).

    Returns:
        The lines.
    """
    found = installation(bundles, with_torch=devices)
    lines = _as_json(found) if json else list(_as_text(found))
    problems = found["problems"]
    if problems:
        print("\n".join(lines))
        weights = [problem["what"] for problem in problems if problem["exit_code"] == ExitCode.WEIGHTS]
        kind = WeightsFailure if len(weights) == len(problems) else NotComplete
        raise kind("; ".join(problem["what"] for problem in problems))
    return lines


def installation(bundles: str | None = None, *, with_torch: bool = False) -> dict[str, Any]:
    """Everything that ``xct info --json`` says, JSON-ready.

    Args:
        bundles: as for ``info``.
        with_torch: ask torch for its devices.
    """
    problems: list[dict[str, Any]] = []
    required, extras = _requirements()
    libraries = {name: _version(name) for name in required}
    missing = [name for name, version in libraries.items() if version is None]
    if missing or not required:
        what = f"not installed: {', '.join(missing)}" if missing else f"{DISTRIBUTION} is not installed, only found"
        problems.append({"what": f"{what}; pip install {DISTRIBUTION}", "exit_code": int(ExitCode.UNEXPECTED)})
    stages = _stages(bundles, problems)
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "xct": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "memory": _memory(),
        "libraries": libraries,
        "devices": [*_devices(), *(_torch_devices() if with_torch else [])],
        "bundles": [{**asdict(stage), "matches": stage.matches} for stage in stages],
        "parts": {name: {one: _version(one) for one in names} for name, names in extras.items()} | _viewer(),
        "exit_codes": {str(code.value): meaning for code, meaning in MEANINGS.items()},
        "problems": problems,
    }


def _requirements() -> tuple[list[str], dict[str, list[str]]]:
    """What the installed distribution needs, and what its optional parts need."""
    try:
        lines = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return [], {}
    required, extras = [], dict[str, list[str]]()
    for found in filter(None, map(_REQUIREMENT.match, lines)):
        name, extra = found["name"], found["extra"]
        if extra is None:
            required.append(name)
        elif extra not in OF_DEVELOPERS and name != DISTRIBUTION:
            extras.setdefault(extra, []).append(name)
    return required, extras


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _viewer() -> dict[str, dict[str, str | None]]:
    """The viewer of report.html, with the SHA-256 of its file."""
    named = os.environ.get("XCT_NIIVUE")
    file = Path(named) if named else VIEWER
    try:
        return {"viewer": {file.name: f"sha256 {file_sha256(file)}"}}
    except OSError:
        return {"viewer": {file.name: None}}


def _stages(bundles: str | None, problems: list[dict[str, Any]]) -> list[BundleFacts]:
    try:
        folder = bundles_folder(bundles)
    except WeightsFailure as failure:
        problems.append({"what": str(failure), "exit_code": int(failure.exit_code)})
        return []
    stages = [bundle_facts(folder, stage) for stage in STAGES]
    problems += [{"what": stage.problem, "exit_code": int(ExitCode.WEIGHTS)} for stage in stages if stage.problem]
    return stages


def _processor() -> dict[str, Any]:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    named = re.search(r"^model name\s*:\s*(.+)$", _text(Path("/proc/cpuinfo")), flags=re.MULTILINE)
    name = named[1] if named else platform.processor() or platform.machine()
    return {"name": name, "cores": os.cpu_count(), "usable": usable}


def _memory() -> dict[str, float | None]:
    kib = dict(re.findall(r"^(MemTotal|MemAvailable):\s+(\d+) kB", _text(Path("/proc/meminfo")), flags=re.MULTILINE))
    names = {"total_gib": "MemTotal", "available_gib": "MemAvailable"}
    return {name: round(int(kib[key]) / 2**20, 1) if key in kib else None for name, key in names.items()}


def _devices() -> list[dict[str, Any]]:
    """NVIDIA GPUs as their driver lists them, without torch."""
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
        try:
            done = subprocess.run(query, capture_output=True, text=True, timeout=_SMI_SECONDS, check=True)
        except (OSError, subprocess.SubprocessError):
            return []
        rows = [[cell.strip() for cell in line.split(",")] for line in done.stdout.splitlines()]
        names = ("name", "memory", "driver")
        return [{**dict(zip(names, row, strict=True)), "from": "nvidia-smi"} for row in rows if len(row) == len(names)]
    models = (re.search(r"^Model:\s*(.+)$", _text(path), flags=re.MULTILINE) for path in _NVIDIA.glob("gpus/*/information"))
    return [{"name": model[1], "from": str(_NVIDIA)} for model in models if model]


def _torch_devices() -> list[dict[str, Any]]:
    try:
        import torch
    except ImportError as error:
        return [{"name": f"torch cannot be loaded: {error}", "from": "torch"}]
    numbers = range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
    seen = [(f"cuda:{number}", torch.cuda.get_device_properties(number)) for number in numbers]
    found = [
        {"name": f"{device} {facts.name}", "memory": f"{facts.total_memory / 2**30:.1f} GiB", "from": "torch"}
        for device, facts in seen
    ]
    return found or [{"name": f"cpu alone, {torch.get_num_threads()} threads", "from": "torch"}]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _as_json(found: dict[str, Any]) -> list[str]:
    import json

    return json.dumps(found, indent=2).splitlines()


def _as_text(found: dict[str, Any]) -> Iterator[str]:
    yield from _block("xct", _machine(found))
    yield from _block("libraries", [(name, version or "MISSING") for name, version in found["libraries"].items()])
    yield from _block("weights", [row for stage in found["bundles"] for row in _stage_rows(stage)] or [("none", "")])
    yield from _block("optional parts", [_part(name, versions) for name, versions in found["parts"].items()])
    yield from _block("exit codes", list(found["exit_codes"].items()))
    yield from _block("problems", [("", problem["what"]) for problem in found["problems"]] or [("none", "")])


def _block(title: str, rows: list[tuple[str, str]]) -> Iterator[str]:
    width = max((len(name) for name, _ in rows), default=0)
    yield title
    yield from (f"  {name:<{width}}  {text}".rstrip() for name, text in rows)
    yield ""


def _machine(found: dict[str, Any]) -> list[tuple[str, str]]:
    processor, memory = found["processor"], found["memory"]
    devices = [", ".join(filter(None, (one["name"], one.get("memory"), one.get("driver")))) for one in found["devices"]]
    return [
        ("version", found["xct"]),
        ("python", found["python"]),
        ("platform", found["platform"]),
        ("processor", f"{processor['name']}, {processor['usable']} of {processor['cores']} cores usable"),
        ("memory", f"{memory['available_gib']} of {memory['total_gib']} GiB available"),
        *([("device", device) for device in devices] or [("device", "no GPU found")]),
    ]


def _stage_rows(stage: dict[str, Any]) -> Iterator[tuple[str, str]]:
    matches = {True: "as model.json says", False: "NOT the file of model.json", None: "no model.json to compare with"}
    yield f"stage {stage['stage']}", f"{stage['folder']}, version {stage['version'] or 'unknown'}"
    yield "  sha256", f"{stage['sha256']} ({matches[stage['matches']]})" if stage["sha256"] else "NO WEIGHTS"
    training, metrics = stage["training"], stage["training"].get("metrics", {})
    figures = [f"{name} {value:.4g}" for name, value in metrics.items() if isinstance(value, float)]
    what = {"epoch": f"epoch {training.get('epoch')}", "held_cts": f"{training.get('held_cts')} CTs put in by xct hold-cts"}
    known = [text for name, text in what.items() if name in training] + figures[:3]
    if known:
        yield "  training", ", ".join(known)
    yield "  deviation", _deviation(training)


def _deviation(described: dict[str, Any]) -> str:
    """What the standard deviation is multiplied by, as model.json says."""
    from xct_components.networks.deviation_factors import NO_SAMPLES, STD_FACTORS, DeviationFactors

    try:
        measured = DeviationFactors.from_json(described.get(STD_FACTORS, [])).measured
    except ValueError as error:
        return f"DAMAGED: {first_line(error)}; run xct calibrate-deviation"
    known = [
        f"{one.factor:.2f}"
        + (f" with {one.films.views} films" if one.films.views > 1 else "")
        + (" if calibrated" if one.films.calibrated else "")
        + ("" if one.steps == NO_SAMPLES else f" with samples of {one.steps} steps")
        for one in measured
    ]
    return f"times {', '.join(known)}" if known else "not held against errors: run xct calibrate-deviation"


def _part(name: str, versions: dict[str, str | None]) -> tuple[str, str]:
    missing = [library for library, version in versions.items() if version is None]
    if missing and name == "viewer":
        return name, f"no {missing[0]}: report.html shows still pictures; python scripts/fetch_viewer.py brings it"
    if missing:
        return name, f"missing {', '.join(missing)}: pip install '{DISTRIBUTION}[{name}]'"
    return name, ", ".join(f"{library} {version}" for library, version in versions.items())
