"""Training in several processes: each takes a share of every batch, and all stop or fail together.

torchrun starts them; the environment it sets (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT) is all that is
asked for. Gradients are summed by DistributedDataParallel (see `batch_loss`), over NCCL on GPUs and Gloo on CPUs. The
few numbers that all must agree on go over Gloo in any case: a process that ends is noticed there at once.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import count

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from .errors import SpinMultiNetError

# The others wait so long for one that is building neighbour lists; one that has ended is noticed at once.
_PATIENCE = timedelta(hours=2)
_number = count()


def n_processes() -> int:
    """How many processes torchrun (or whoever set WORLD_SIZE) has started; 1 without.

    Raises SpinMultiNetError if WORLD_SIZE is no positive number.
    """
    text = os.environ.get("WORLD_SIZE", "1")
    if not text.strip().isdecimal() or int(text) == 0:
        raise SpinMultiNetError(
            f"WORLD_SIZE={text!r} is no number of processes; start them with torchrun, or unset WORLD_SIZE"
        )
    return int(text)


@dataclass(frozen=True)
class Processes:
    """The processes of a training; alone by default. `rank` 0 leads: it writes files and speaks."""

    rank: int = 0
    size: int = 1

    @property
    def leader(self) -> bool:
        """Whether this process writes and speaks."""
        return self.rank == 0

    def device(self, asked: str) -> torch.device:
        """Where this process computes: `auto`, `cpu` or `cuda`; GPU k for the k-th process of a machine.

        Raises SpinMultiNetError where there is no GPU (for this process).
        """
        if asked == "cpu" or (asked == "auto" and not torch.cuda.is_available()):
            return torch.device("cpu")
        local, there = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        if local >= there:
            raise SpinMultiNetError(
                f"process {local + 1} of this machine finds {there} GPUs that PyTorch can use; start as many processes "
                "as there are GPUs (torchrun --nproc-per-node), or set the training option device: cpu"
            )
        torch.cuda.set_device(local)
        return torch.device("cuda", local)

    def total(self, values: Tensor) -> Tensor:
        """Sum over processes of a tensor on the CPU."""
        return self._reduced(values, dist.ReduceOp.SUM)

    def largest(self, value: int) -> int:
        """The largest of the numbers that the processes have."""
        return int(self._reduced(torch.tensor(value), dist.ReduceOp.MAX))

    def _reduced(self, values: Tensor, how: dist.ReduceOp.RedOpType) -> Tensor:
        if self.size > 1:
            dist.all_reduce(values, how)
        return values

    def wait(self) -> None:
        """Until all processes have come here."""
        self.largest(0)

    @contextmanager
    def leader_first(self) -> Iterator[None]:
        """The leader does what is inside first, the others when it has: they find its files."""
        if not self.leader:
            self.wait()
        yield
        if self.leader:
            self.wait()

    def refuse_difference(self, text: str) -> None:
        """Raises SpinMultiNetError, in all processes, if `text` is not the same in all."""
        number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")
        if self.largest(number) != -self.largest(-number):
            raise SpinMultiNetError(
                "the processes of this training have other data, options, or another state of the same training; give "
                "all of them the same files and one folder that all see"
            )

    def share(self, batch: Sequence[int], size_of: Callable[[int], int]) -> list[int]:
        """What this process takes of a batch, so that sizes add up to about the same in all; may be nothing.

        The largest goes first, to whoever has least; all processes come to the same division.
        """
        loads, mine = [0] * self.size, []
        for k in sorted(batch, key=size_of, reverse=True):
            taker = loads.index(min(loads))
            loads[taker] += max(size_of(k), 1)
            if taker == self.rank:
                mine.append(k)
        return [k for k in batch if k in mine]


@contextmanager
def processes() -> Iterator[Processes]:
    """The processes that torchrun has started, joined for the time inside; this one alone without torchrun.

    An error in any of them ends all: one raises it, the others leave with SystemExit(1), quietly. Where a process was
    killed, one of the others raises SpinMultiNetError. Inside another `processes()`, or where the caller has set up
    torch.distributed, those processes are the ones.
    """
    if dist.is_available() and dist.is_initialized():
        yield Processes(dist.get_rank(), dist.get_world_size())
    elif n_processes() == 1:
        yield Processes()
    else:
        joined, store = _join()
        try:
            yield joined
        except SystemExit:
            raise
        except BaseException as error:
            if not _first_to_speak(store):
                raise SystemExit(1) from None
            if _is_lost_connection(error):
                raise SpinMultiNetError(
                    "another process of this training was ended from outside (out of memory?); give it more memory or "
                    "smaller batches; the same call goes on from the last checkpoint"
                ) from error
            raise
        dist.destroy_process_group()


def _join() -> tuple[Processes, Store]:
    try:
        store, rank, size = next(rendezvous("env://", timeout=_PATIENCE))
        own = PrefixStore(f"training {next(_number)}", store)  # what an earlier one has left in it is not ours
        dist.init_process_group(store=own, rank=rank, world_size=size, timeout=_PATIENCE)
    except (ValueError, RuntimeError) as error:
        first = str(error).split("\n")[0]
        raise SpinMultiNetError(
            f"WORLD_SIZE={n_processes()} asks for a training in several processes, which cannot meet ({first}); start "
            "them with torchrun, or unset WORLD_SIZE"
        ) from error
    return Processes(rank, size), own


def _first_to_speak(store: Store) -> bool:
    """Whoever fails first says why, before its connections close and the others notice."""
    try:
        return store.add("spoken", 1) == 1
    except RuntimeError:  # without torchrun the store ends with the leader: better said twice than never
        return True


def _is_lost_connection(error: BaseException) -> bool:
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error).lower())
