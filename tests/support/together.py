"""Functions run in several processes that know each other, as torchrun would start them; importable by the children."""

import io
import multiprocessing as mp
import os
import signal
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import ase.io
import numpy as np
import torch
from ase.calculators.singlepoint import SinglePointCalculator
from torch.distributed import TCPStore

from spinmultinet.train import _Run, train

DATA = Path(__file__).parents[1] / "spinmultinet" / "data" / "nio_pbeu.extxyz"


def together(function, arguments, size=2, timeout=240):
    """(exit code, what it printed) of each of `size` processes that call function(*arguments)."""
    context = mp.get_context("forkserver")
    context.set_forkserver_preload(["spinmultinet.train"])
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # torchrun has it in its own process too
    printed = [context.SimpleQueue() for _ in range(size)]
    children = [
        context.Process(target=_child, args=(rank, size, store.port, printed[rank], function, arguments))
        for rank in range(size)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join(timeout)
    stuck = [child.pid for child in children if child.is_alive()]
    for child in children:
        child.kill()
        child.join()
    assert not stuck, "a process waits for ever"
    return [
        (child.exitcode, "" if queue.empty() else queue.get()) for child, queue in zip(children, printed, strict=True)
    ]


def _child(rank, size, port, printed, function, arguments):
    os.environ |= {
        **{"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size)},
        **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)},
        **{"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0"},
    }
    torch.set_num_threads(1)
    text = io.StringIO()
    code = 0
    with redirect_stdout(text), redirect_stderr(text):
        try:
            function(*arguments)
        except SystemExit as error:
            code = error.code
        except Exception as error:
            print(f"{type(error).__name__}: {error}")
            code = 2
    printed.put(text.getvalue())
    sys.exit(code)


def mixed_labels():
    """Fifteen structures of 4 and 8 atoms, some without stress, some without converged moments."""
    frames = ase.io.read(DATA, ":")[:15]
    frames[4] = _doubled(frames[4])
    frames[7] = _doubled(frames[7])
    for atoms in frames[:6:2]:
        del atoms.calc.results["stress"]
    for atoms in frames[1:8:2]:
        del atoms.arrays["magmom_out"]
    return frames


def _doubled(atoms):
    found = atoms.calc.results
    twice = atoms * (2, 1, 1)
    energies = {k: 2 * found[k] for k in ("energy", "free_energy") if k in found}
    forces = np.concatenate([found["forces"]] * 2)
    twice.calc = SinglePointCalculator(twice, **energies, forces=forces, stress=found["stress"])
    return twice


def train_mixed(options, model_options, folder, harm=None):
    """Train on `mixed_labels`; `harm` = (rank, step, what) happens to one process before that step."""
    if harm is not None:
        _harm(*harm)
    frames = mixed_labels()
    train(options, model_options, frames[:10], frames[10:], Path(folder), 3, lambda epoch, n, m: print("epoch", epoch))


def train_twice(options, model_options, folder):
    """One training after the other, as a script may do."""
    for name in ("first", "second"):
        train(options, model_options, mixed_labels()[:4], [], Path(folder) / name)


def train_other_data(options, model_options, folder):
    """Each process has other structures."""
    rank = int(os.environ["RANK"])
    train(options, model_options, mixed_labels()[rank : rank + 4], [], Path(folder))


def _harm(rank, number, what):
    step = _Run._step
    seen = []

    def harmed(self, batch):
        seen.append(batch)
        if self.together.rank == rank and len(seen) == number:
            if isinstance(what, signal.Signals):
                os.kill(os.getpid(), what)
            else:
                raise what
        step(self, batch)

    _Run._step = harmed
