"""The software bill of materials of an installation, as CycloneDX JSON: `make sbom`.

Packages are listed by cyclonedx-bom, the CycloneDX project's own tool; the released weights and the viewer of the report,
which no package index knows, are added with their SHA-256. The result is validated against the CycloneDX schema.

    .venv-sbom/bin/python scripts/make_sbom.py --environment .venv-hospital/bin/python --output sbom.cdx.json
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

ROOT = Path(__file__).resolve().parent.parent
SPECIFICATION = "1.6"
#: The one file of the report that is not ours, if it was fetched (scripts/fetch_viewer.py).
VIEWER_PATTERN = "xct_components/report_page/niivue*.js"


def main() -> None:
    """Write the document, or nothing."""
    options = _options()
    document = _packages(options.environment)
    document["components"] += [_weights(folder) for folder in sorted((ROOT / "bundles").glob("stage*"))]
    document["components"] += [_viewer(path) for path in sorted(ROOT.glob(VIEWER_PATTERN))]
    text = json.dumps(document, indent=1) + "\n"
    _require_valid(text)
    draft = options.output.with_name(options.output.name + ".part")
    draft.write_text(text, encoding="utf-8")
    draft.replace(options.output)
    print(f"{options.output}: {len(document['components'])} components")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environment", required=True, help="python of the installation that is described")
    parser.add_argument("--output", type=Path, required=True)
    return parser.parse_args()


def _packages(python: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--sv", SPECIFICATION, "--output-reproducible"]
    command += ["--pyproject", str(ROOT / "pyproject.toml"), python]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _weights(folder: Path) -> dict[str, Any]:
    """The released weights of one bundle."""
    version = json.loads((folder / "configs" / "metadata.json").read_text(encoding="utf-8"))["version"]
    return {
        "type": "machine-learning-model",
        "bom-ref": f"weights-{folder.name}",
        "name": f"xct {folder.name} weights (models/model.pt)",
        "version": version,
        "hashes": [_sha256(folder / "models" / "model.pt")],
        "licenses": [{"license": {"id": "Apache-2.0"}}],
    }


def _viewer(path: Path) -> dict[str, Any]:
    """NiiVue, inlined into report.html."""
    return {
        "type": "library",
        "bom-ref": f"viewer-{path.name}",
        "name": f"@niivue/niivue ({path.name})",
        "hashes": [_sha256(path)],
        "licenses": [{"license": {"id": "BSD-2-Clause"}}],
    }


def _sha256(path: Path) -> dict[str, str]:
    return {"alg": "SHA-256", "content": hashlib.sha256(path.read_bytes()).hexdigest()}


def _require_valid(text: str) -> None:
    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if error:
        raise SystemExit(f"make_sbom: not valid CycloneDX {SPECIFICATION}: {error}")


if __name__ == "__main__":
    main()
