"""A real sshd on loopback: keys of its own, no passwords, environment of Slurm's commands."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from tests.support.cluster.servers import Server, answers, free_port

CONFIGURATION = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_key
PidFile {folder}/sshd.pid
AuthorizedKeysFile {folder}/authorized_keys
AuthenticationMethods publickey
PasswordAuthentication no
PermitRootLogin prohibit-password
UsePAM no
StrictModes no
MaxStartups 100
Subsystem sftp internal-sftp
{environment}
"""


class Sshd:
    """``port`` on 127.0.0.1; ``key``: the private key that it lets in."""

    def __init__(self, folder: Path, environment: Mapping[str, str]):
        self.folder, self.port, self.key = folder, free_port(), folder / "key"
        # The first SetEnv is the only one that sshd heeds.
        self.set = "SetEnv " + " ".join(f"{name}={value}" for name, value in environment.items())
        self.server = Server(
            [shutil.which("sshd") or "/usr/sbin/sshd", "-D", "-e", "-f", folder / "config"], folder / "log"
        )

    def start(self) -> None:
        """Make keys and configuration, and listen; again after :meth:`cut`, with the same ones."""
        if not self.key.exists():
            self.folder.mkdir(parents=True)
            for name in ("key", "host_key"):
                generate = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / name)]
                subprocess.run(generate, check=True)
            shutil.copy(self.folder / "key.pub", self.folder / "authorized_keys")
            text = CONFIGURATION.format(folder=self.folder, port=self.port, environment=self.set)
            (self.folder / "config").write_text(text)
        Path("/run/sshd").mkdir(parents=True, exist_ok=True)
        self.server.start(lambda: answers(self.port))

    def cut(self) -> None:
        """Kill the server and all its sessions; what they started through Slurm goes on."""
        sessions = [int(pid) for pid in self._children()]
        self.server.kill()
        for pid in sessions:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _children(self) -> list[str]:
        """Processes of open connections: sshd puts each into a session of its own."""
        if self.server.process is None:
            return []
        first = _children_of(str(self.server.process.pid))
        return [*first, *(below for pid in first for below in _children_of(pid))]

    def stop(self) -> None:
        """End it, with its sessions."""
        self.cut()


def _children_of(pid: str) -> list[str]:
    return subprocess.run(["pgrep", "-P", pid], capture_output=True, text=True, check=False).stdout.split()


def missing() -> list[str]:
    """What this machine lacks to run sshd."""
    if shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin") and shutil.which("ssh-keygen"):
        return []
    return ["sshd is not installed (apt-get install openssh-server openssh-client)"]
