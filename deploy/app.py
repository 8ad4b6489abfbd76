"""The cascade as a MONAI Deploy application: ``python deploy/app.py -i FOLDER_OF_DICOM_FILMS -o OUTPUT``.

    films in the input folder  ->  cascade  ->  OUTPUT/1/dicom/IM0001.dcm ...

See docs/deploy.md. The SDK's own loader and selector are not used: they read all pixels in this process, and log what names
a patient.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from film_series import films_in, write_series
from holoscan.conditions import CountCondition
from monai.deploy.core import Application, Fragment, Operator, OperatorSpec

from xct_components.cascade import UnifiedHybridViTCascade
from xct_components.failures import Failure

FILMS = "films"


class FilmFolderOperator(Operator):
    """Emits the paths of the DICOM films of a folder, once.

    Named output ``films``: list of ``Path``.
    """

    def __init__(self, fragment: Fragment, *args: Any, folder: Path, **kwargs: Any) -> None:
        self.folder = folder
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        """One output."""
        spec.output(FILMS)

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:  # noqa: ARG002 - as holoscan calls it
        """Find them."""
        op_output.emit(films_in(self.folder), FILMS)


class CascadeOperator(Operator):
    """Writes a synthetic CT series for every film.

    Named input ``films``: list of ``Path``. There is no output: the series are files, in their film's study.
    """

    def __init__(
        self, fragment: Fragment, *args: Any, output: Path, bundles: str | None, stages: int, device: str, **kwargs: Any
    ) -> None:
        self.output = output
        self.cascade = UnifiedHybridViTCascade.from_pretrained(bundles, stages=stages, device=device)
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        """One input."""
        spec.input(FILMS)

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:  # noqa: ARG002 - as holoscan calls it
        """Film after film."""
        write_series(op_input.receive(FILMS), self.output, self.cascade)


class XctApplication(Application):
    """Input and output folders by ``-i`` and ``-o`` or HOLOSCAN_INPUT_PATH and HOLOSCAN_OUTPUT_PATH.

    Bundles are found by XCT_BUNDLES, ./bundles or beside the package; XCT_STAGES and XCT_DEVICE choose stages and device.
    """

    def compose(self) -> None:
        """Two operators in a row."""
        context = Application.init_app_context(self.argv)
        films = FilmFolderOperator(self, CountCondition(self, 1), folder=Path(context.input_path), name="film_folder")
        stages, device = int(os.environ.get("XCT_STAGES", "3")), os.environ.get("XCT_DEVICE", "cpu")
        cascade = CascadeOperator(
            self, output=Path(context.output_path), bundles=None, stages=stages, device=device, name="cascade"
        )
        self.add_flow(films, cascade, {(FILMS, FILMS)})


def main() -> int:
    """Run; a failure that a user can act on is one line on stderr and its exit code, as with ``xct``."""
    try:
        XctApplication().run()
    except Failure as failure:
        sys.stderr.write(f"xct: {failure}\n")
        return failure.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
