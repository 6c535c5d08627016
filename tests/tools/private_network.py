"""Run a command in a network namespace of its own, where only the loopback interface exists.

    private_network.py COMMAND [ARGUMENT ...]

Ray's processes listen on all addresses, whatever they are told; in here nobody else can reach them.
Root needs nothing else; other users need unprivileged user namespaces. Where neither works the
command is not run: a failure when CI=true, else a message.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import subprocess
import sys

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1


def enter_command() -> list[str] | None:
    """Return the command prefix that enters a new namespace, or None when this user may not."""
    for prefix in (["unshare", "--net"], ["unshare", "--map-root-user", "--net"]):
        try:
            if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0:
                return prefix
        except FileNotFoundError:
            return None
    return None


def bring_loopback_up() -> None:
    """Do what `ip link set lo up` does, without needing iproute2."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh14x", b"lo", 0)
        (flags,) = struct.unpack("16xh14x", fcntl.ioctl(control, SIOCGIFFLAGS, request))
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))


def main(arguments: list[str]) -> int:
    """Re-run this script inside a new namespace, which then becomes the command."""
    if arguments[:1] == ["--inside"]:
        bring_loopback_up()
        os.execvp(arguments[1], arguments[1:])
    prefix = enter_command()
    if prefix is None:
        required = os.environ.get("CI") == "true"
        print(
            "Not run: this user may not create a network namespace (run as root, or allow "
            "unprivileged user namespaces).",
            file=sys.stderr,
        )
        return 1 if required else 0
    return subprocess.run(
        [*prefix, sys.executable, __file__, "--inside", *arguments], check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
