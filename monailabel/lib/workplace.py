"""Where requests are computed: the environment that has xct-components, as a child process for each."""

from __future__ import annotations

import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import HTTPException
from monailabel.interfaces.exception import MONAILabelError, MONAILabelException

#: HTTP status of the command line's exit codes (docs/conventions.md); others are 500.
STATUS = {2: 400, 3: 422, 4: 422, 5: 503, 6: 503, 7: 507}
_CHECK = "import sys; from xct_components.cascade import UnifiedHybridViTCascade as c; c.from_pretrained(*sys.argv[1:])"


@dataclass(frozen=True)
class Workplace:
    """Where requests are computed.

    Args:
        python: interpreter of the environment that has xct-components.
        bundles: folder of stage1, stage2 and stage3.
        device: "cpu", "cuda", "cuda:1".
    """

    python: str
    bundles: Path
    device: str

    def run(self, *arguments: str, timeout_s: float | None = None, quiet: bool = True) -> None:
        """Run ``python ARGUMENTS``.

        Args:
            arguments: checked already; nothing a client wrote comes here as it is.
            timeout_s: of the whole run; None for no limit.
            quiet: False lets stdout through to the server's log.

        Raises:
            HTTPException: with the line that the command wrote for its user.
        """
        stdout = subprocess.DEVNULL if quiet else None
        how: dict[str, Any] = {"env": _environment(), "cwd": tempfile.gettempdir(), "stderr": subprocess.PIPE, "text": True}
        try:
            done = subprocess.run([self.python, *arguments], stdout=stdout, timeout=timeout_s, check=False, **how)
        except subprocess.TimeoutExpired as error:
            raise HTTPException(504, f"not done after {timeout_s:g} s; MONAI_LABEL_INFER_TIMEOUT sets the limit") from error
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no word of explanation"]
            told = [line.removeprefix("xct: ") for line in lines if line.startswith("xct: ") and "xct: warning" not in line]
            raise HTTPException(STATUS.get(done.returncode, 500), told[-1] if told else f"unexpected: {lines[-1]}")

    def require_weights(self) -> None:
        """Refuse to serve bundles that are missing, damaged or not what their records say."""
        try:
            self.run("-c", _CHECK, str(self.bundles))
        except (HTTPException, OSError) as error:
            reason = getattr(error, "detail", error)
            raise MONAILabelException(MONAILabelError.APP_INIT_ERROR, f"the bundles cannot be served: {reason}") from error


def _environment() -> dict[str, str]:
    """Ours without what MONAI Label put there: its settings, passwords among them, and its module path."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH" and not name.startswith("MONAI_LABEL_")}
