"""A network of a test's own, with loopback and nothing else: what runs in it cannot be reached, and reaches nobody."""

from __future__ import annotations

import fcntl
import shutil
import socket
import struct
import subprocess

#: Root may make one; others where user namespaces are allowed.
COMMANDS = (["unshare", "-n"], ["unshare", "-rn"])
_SET_FLAGS, _UP_AND_RUNNING = 0x8914, 0x1 | 0x40  # SIOCSIFFLAGS, IFF_UP | IFF_RUNNING of Linux


def own_network() -> list[str] | None:
    """The command that runs another in a network of its own; None where that is not allowed."""
    if shutil.which("unshare") is None:
        return None
    possible = (one for one in COMMANDS if subprocess.run([*one, "true"], capture_output=True, check=False).returncode == 0)
    return next(possible, None)


def bring_loopback_up() -> None:
    """Within the new network, where it is down at first."""
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sh14x", b"lo", _UP_AND_RUNNING))
