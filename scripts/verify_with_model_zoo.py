"""Run the MONAI model zoo's own verifier on copies of the three bundles; nothing of the zoo enters this repository.

    git clone https://github.com/Project-MONAI/model-zoo ../model-zoo && pip install jsonschema
    python scripts/verify_with_model_zoo.py ../model-zoo [--schema meta_schema_20240725.json]

Without --schema the verifier downloads the schema that metadata.json names. A bundle without weights gets random ones. The
bundles are put on the verifier's list of those that do not support TorchScript, as the zoo asks of such bundles: the geometry
of a film is no tensor.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from xct_components.bundle_io.parent_stages import WEIGHTS, stage_of

BUNDLES = Path(__file__).parent.parent / "bundles"
NAMES = ("stage1", "stage2", "stage3")


def verify(zoo: Path, schema: Path | None, scratch: Path) -> int:
    """Verify all bundles in ``scratch``; the number of those that fail."""
    shutil.copytree(zoo / "ci", scratch / "ci")
    with (scratch / "ci" / "bundle_custom_data.py").open("a", encoding="utf-8") as stream:
        stream.write(f"\nexclude_verify_torchscript_list += {list(NAMES)}\n")
    for name in NAMES:
        bundle = scratch / "bundles" / name
        shutil.copytree(BUNDLES / name, bundle, ignore=shutil.ignore_patterns("eval", "cache"))
        if not (bundle / WEIGHTS).is_file():
            (bundle / WEIGHTS).parent.mkdir(exist_ok=True)
            torch.save(stage_of(bundle).state_dict(), bundle / WEIGHTS)
        if schema is not None:
            (bundle / "eval").mkdir()
            shutil.copy(schema, bundle / "eval" / "schema.json")
    (scratch / "bundles" / "model_info.json").write_text("{}", encoding="utf-8")
    command = [sys.executable, "ci/verify_bundle.py", "-p", "bundles", "-b"]
    return sum(subprocess.run([*command, name], cwd=scratch, check=False).returncode != 0 for name in NAMES)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("zoo", type=Path, help="a clone of the model zoo")
    parser.add_argument("--schema", type=Path, help="the schema of metadata.json, where it cannot be downloaded")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        failed = verify(arguments.zoo, arguments.schema, Path(scratch))
    print(f"{len(NAMES) - failed} of {len(NAMES)} bundles pass")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
