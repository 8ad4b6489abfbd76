"""What became of the images that were sent, and what the user is told of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from xct_components.failures import CannotWrite, ExitCode, Failure, InputWarning

#: Called with the number of images that were sent since the last call.
OnSent = Callable[[int], object]


class PartlyStored(Failure):
    """Some images are in the PACS, others are not."""

    exit_code = ExitCode.PARTIAL


class StoppedStoring(Failure):
    """The user stopped while images were under way."""

    exit_code = ExitCode.INTERRUPTED


@dataclass
class Storage:
    """The count of one transfer; it grows while images are sent.

    Args:
        host: the server, as messages name it.
        total: images to store.
        stored: images that the server has confirmed.
        changed: confirmed images that it stored with a warning (it changed or left out elements).
        reasons: why others were not, in plain words; no identifiers.
    """

    host: str
    total: int
    stored: int = 0
    changed: int = 0
    reasons: list[str] = field(default_factory=list)

    def failed(self, reason: str) -> None:
        """Note why an image, or all that were left, could not be stored."""
        if reason not in self.reasons:
            self.reasons.append(reason)

    def require_complete(self) -> None:
        """Nothing, if every image is stored; a warning, if the server changed some.

        Raises:
            CannotWrite: if none is.
            PartlyStored: if some are.
        """
        if self.changed:
            import warnings

            note = f"{self.host} stored {self.changed} of {self.total} images with a warning: it may have changed elements"
            warnings.warn(note, InputWarning, stacklevel=2)
        if self.stored == self.total:
            return
        reasons = "; ".join(self.reasons[:3]) or "it did not confirm them"
        if not self.stored:
            raise CannotWrite(f"{self.host} stored none of {self.total} images: {reasons}")
        raise PartlyStored(f"{self._share()}: {reasons}. {self._way_out()}")

    def stopped(self) -> StoppedStoring:
        """The failure to raise when the user interrupts."""
        return StoppedStoring(f"interrupted: {self._share()}. {self._way_out()}")

    def _share(self) -> str:
        return f"{self.host} confirmed {self.stored} of {self.total} images"

    def _way_out(self) -> str:
        return "Delete the incomplete SYNTHETIC series there; another run stores a new one under new UIDs"
