"""What happens to layers of PyTorch where processes begin and end. The argument says which of it."""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

import torch
import torch.nn.functional as F
from pools import in_child, own_threads
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import interneuron.torch as it
from interneuron import _core


def passes(model: torch.nn.Module, k: int) -> Tensor:
    """The bits of a forward and a backward pass, by layers of this package alone: in a forked process
    PyTorch's own operations hang with two threads, as its OpenMP does not survive forks."""
    x = torch.rand(64, 64, generator=torch.Generator().manual_seed(k), requires_grad=True)
    h = model(x)
    gradients = torch.autograd.grad(h, [x, *model.parameters()], torch.ones_like(h))
    return torch.cat([it.reshape(-1) for it in (h, *gradients)]).detach()


def network() -> torch.nn.Sequential:
    return it.mlp([64, 128, 10], [16, 1], seed=1)


class Computed(Dataset[tuple[Tensor, Tensor]]):
    """Items that layers make, in the process of the loader's worker."""

    def __init__(self) -> None:
        self.model = network()

    def __len__(self) -> int:
        return 8

    def __getitem__(self, k: int) -> tuple[Tensor, Tensor]:
        bits = passes(self.model, k)
        return bits, torch.tensor([torch.get_num_threads(), _core.pools(), own_threads(), os.getpid()])


def two_in_the_second(worker: int) -> None:
    """Gives the second worker two threads."""
    torch.set_num_threads(1 + worker)


def loader(method: str) -> None:
    torch.set_num_threads(2)
    data = Computed()
    expected = [passes(data.model, k) for k in range(len(data))]
    assert _core.pools() == 1
    workers: Any = {"num_workers": 2, "multiprocessing_context": method, "worker_init_fn": two_in_the_second}
    seen = set()
    for k, (bits, (threads, pools, own, pid)) in enumerate(
        DataLoader(data, batch_size=None, timeout=30, **workers)
    ):
        assert torch.equal(bits, expected[k])
        # One thread needs no pool, and more have one of their own.
        assert (pools, own) == ((0, 0) if threads == 1 else (1, threads))
        assert pid != os.getpid()
        seen.add(int(threads))
    assert seen == {1, 2}
    assert torch.equal(passes(data.model, 0), expected[0])
    assert _core.pools() == 1


def fork() -> None:
    torch.set_num_threads(2)
    model = network()
    expected = passes(model, 0).numpy().tobytes()
    assert in_child(lambda: passes(model, 0).numpy().tobytes()) == expected
    said: list[bytes] = []
    thread = threading.Thread(
        target=lambda: said.append(in_child(lambda: passes(model, 0).numpy().tobytes()))
    )
    thread.start()
    thread.join()
    assert said == [expected]


def rule() -> None:
    """Every way to compute asks PyTorch how many threads there are, at each call."""
    model, x, y = network(), torch.rand(64, 64), torch.arange(64) % 10
    optimizer, fused = it.CSGD(model, lr=0.1), network()
    of_fused = it.CSGD(fused, lr=0.1, fused=True)

    def all_ways() -> None:
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        with torch.no_grad():
            model(x)
        it.train_step(model, x, y, optimizer)
        F.cross_entropy(fused(x), y).backward()
        of_fused.step()

    torch.set_num_threads(1)
    all_ways()
    assert _core.pools() == 0
    assert own_threads() == 0
    for threads in (2, 3):
        torch.set_num_threads(threads)
        all_ways()
        assert _core.pools() == threads - 1
    assert own_threads() == 2 + 3
    torch.set_num_threads(1)
    all_ways()
    assert _core.pools() == 2


def follows_environment() -> None:
    assert torch.get_num_threads() == 1
    passes(network(), 0)
    assert _core.pools() == 0
    assert own_threads() == 0


def exit_with_graphs() -> None:
    """Graphs, an optimiser that steps in the backward pass, and a pool are there when all ends."""
    global kept
    torch.set_num_threads(2)
    model, fused = network(), network()
    optimizer = it.CSGD(fused, lr=0.1, fused=True)
    kept = [model, fused, optimizer, *(net(torch.rand(64, 64)).sum() for net in (model, model, fused))]
    kept[3].backward(retain_graph=True)


kept: list[Any] = []

if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
