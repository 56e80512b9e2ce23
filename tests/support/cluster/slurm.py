"""A real Slurm of one node: munged, slurmctld and slurmd on loopback, with a ``cpu`` and a ``gpu`` partition."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
from contextlib import suppress
from pathlib import Path

from tests.support.cluster.servers import Server, answers, free_port, wait_until

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel")
CPUS = 4
"""Of the node, whatever the machine has: jobs of tests mostly wait."""

CONFIGURATION = """\
ClusterName=loop
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/munge.sock
CryptoType=crypto/munge
SlurmctldPort={controller}
SlurmdPort={node}
SlurmctldPidFile={folder}/controller.pid
SlurmdPidFile={folder}/node.pid
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
KillWait=2
MinJobAge=3600
SchedulerParameters=batch_sched_delay=0
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=4000 Gres=gpu:1 State=UNKNOWN
PartitionName=cpu Nodes={host} Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
PartitionName=gpu Nodes={host} MaxTime=INFINITE State=UP
"""


class Slurm:
    """Start with :meth:`start`; ``environment`` has what its commands need. ``stop`` ends jobs and servers."""

    def __init__(self, folder: Path):
        self.folder, self.host = folder, socket.gethostname().split(".")[0]
        self.ports = {"controller": free_port(), "node": free_port()}
        self.environment = {"SLURM_CONF": str(folder / "slurm.conf")}
        everything = {**os.environ, **self.environment}
        munge = folder / "munge"
        options = {"socket": "munge.sock", "pid-file": "pid", "log-file": "log", "key-file": "key", "seed-file": "seed"}
        self.munged = Server(
            [_program("munged"), "--foreground", "--force", *(f"--{o}={munge / f}" for o, f in options.items())],
            folder / "munged.log",
        )
        self.controller = Server([_program("slurmctld"), "-D"], folder / "slurmctld.log", everything)
        self.node = Server([_program("slurmd"), "-D", "-N", self.host], folder / "slurmd.log", everything)

    def start(self) -> None:
        """Bring all three up; back when the node takes jobs."""
        for name in ("munge", "state", "spool"):
            (self.folder / name).mkdir(parents=True, mode=0o700)
        (self.folder / "munge" / "key").write_bytes(secrets.token_bytes(128))
        (self.folder / "munge" / "key").chmod(0o400)
        text = CONFIGURATION.format(folder=self.folder, host=self.host, cpus=CPUS, **self.ports)
        (self.folder / "slurm.conf").write_text(text)
        (self.folder / "gres.conf").write_text(f"NodeName={self.host} Name=gpu File=/dev/null\n")
        self.munged.start((self.folder / "munge" / "munge.sock").exists)
        self.controller.start(lambda: answers(self.ports["controller"]))
        self.node.start(lambda: answers(self.ports["node"]))
        wait_until(lambda: self.run("sinfo", "-h", "-p", "cpu", "-o", "%t").strip() == "idle", "the node is idle")

    def run(self, *command: str) -> str:
        """Standard output of one of Slurm's commands; empty where it fails."""
        environment = {**os.environ, **self.environment}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        return done.stdout if done.returncode == 0 else ""

    def jobs(self) -> list[dict[str, str]]:
        """Jobs that Slurm knows of, also those that ended a few minutes ago, as ``scontrol`` tells of them."""
        lines = self.run("scontrol", "show", "job", "--oneliner").splitlines()
        return [dict(word.partition("=")[::2] for word in line.split()) for line in lines if line.startswith("JobId=")]

    def stop(self) -> None:
        """Cancel all jobs, end the servers."""
        if self.controller.process is not None:
            self.run("scancel", "--full", "--signal=KILL", "--user=root")
            self.run("scancel", "--user=root")
            with suppress(TimeoutError):  # a job that ignores this is ended with its node
                wait_until(lambda: not self.run("squeue", "-h", "-t", "R,CG").strip(), "jobs have ended", 10)
        for server in (self.node, self.controller, self.munged):
            server.stop()


def missing() -> list[str]:
    """What this machine lacks to run Slurm."""
    found = [f"{name} is not installed (apt-get install slurm-wlm munge)" for name in PROGRAMS if not _which(name)]
    return [*found, *([] if os.getuid() == 0 else ["not root"])]


def _which(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


def _program(name: str) -> str:
    return _which(name) or name
