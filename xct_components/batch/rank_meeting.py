"""Where the processes of ``torchrun`` wait for each other, so that none ends, and takes the others along, before all have."""

from __future__ import annotations

from datetime import timedelta

#: A process may have done its films days before another.
LONGEST_WAIT = timedelta(days=30)


class RankMeeting:
    """The processes of one job; a process by itself, or started by something else than ``torchrun``, never waits.

    ``torchrun`` ends all processes as soon as one of them ends with a failure, so that one bad film in a short share would
    cost the films of the others.

    Args:
        processes: how many there are.
    """

    def __init__(self, processes: int) -> None:
        self._open = False
        if processes == 1:
            return
        import torch.distributed

        if torch.distributed.is_torchelastic_launched() and not torch.distributed.is_initialized():
            torch.distributed.init_process_group("gloo", timeout=LONGEST_WAIT)
            self._open = True

    @property
    def is_open(self) -> bool:
        """Whether the processes can meet."""
        return self._open

    def wait(self) -> bool:
        """Wait for all; False if one of them is gone."""
        if not self._open:
            return True
        import torch.distributed

        try:
            torch.distributed.barrier()
        except RuntimeError:  # a process died: its films are open, all else goes on
            self._open = False
            return False
        return True

    def close(self) -> None:
        """No more meetings."""
        if self._open:
            import torch.distributed

            torch.distributed.destroy_process_group()
            self._open = False
