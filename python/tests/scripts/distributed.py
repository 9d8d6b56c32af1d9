"""One process of several that train together over gloo. Arguments: a folder, the rank, how many processes.

Writes what each case returned, or the error that it ended with, as `FOLDER/RANK.pt`.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.algorithms.join import Join
from torch.distributed.algorithms.model_averaging.averagers import PeriodicModelAverager
from torch.nn.parallel import DistributedDataParallel as DDP

import interneuron as inn
import interneuron.torch as it

DIMS, NIS, LR, EACH = [784, 64, 10], [8, 1], 0.05, 96
FEW, MANY = 60, 300
# Of a layer's gradients: networks as small as this one learn well so, and seldom without.
CLIP = 1.0


def network(dtype: torch.dtype = torch.float32) -> nn.Sequential:
    return it.mlp(DIMS, NIS, seed=1, dtype=dtype)


def examples() -> tuple[Tensor, Tensor]:
    data = inn.digits(1000, 1, 1)
    return torch.from_numpy(data.x), torch.from_numpy(data.y)


def batches(rank: int, world: int, steps: int = FEW) -> Iterator[tuple[Tensor, Tensor]]:
    """The part of one process in batches that are the same for any number of processes."""
    x, y = examples()
    order = torch.randperm(1000, generator=torch.Generator().manual_seed(1))
    for step in range(steps):
        whole = order[torch.arange(step * EACH, (step + 1) * EACH) % 1000]
        part = whole.chunk(world)[rank] if world > 1 else whole
        yield x[part], y[part]


def step(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> float:
    optimizer.zero_grad()
    loss = it.loss(model(x.to(next(model.parameters()).dtype)), y)
    loss.backward()
    optimizer.step()
    return loss.item()


def said(model: nn.Module, losses: list[float]) -> dict[str, Any]:
    """What can be compared: parameters, and losses."""
    return {
        "losses": losses,
        "params": {name: it.detach().clone() for name, it in model.state_dict().items()},
    }


def one_process(dtype: torch.dtype, **keywords: Any) -> dict[str, Any]:
    """Not distributed: the whole batches."""
    model = network(dtype)
    optimizer = it.CSGD(model, LR, clip=CLIP, **keywords)
    return said(model, [step(model, optimizer, x, y) for x, y in batches(0, 1)])


def local_in_one_process(world: int, dtype: torch.dtype, every: int = 5) -> dict[str, Any]:
    """Not distributed: the networks of all processes, side by side."""
    models = [network(dtype) for _ in range(world)]
    optimizers = [it.CSGD(model, LR, clip=CLIP) for model in models]
    parts = [batches(rank, world) for rank in range(world)]
    for k, together in enumerate(zip(*parts, strict=True), 1):
        for model, optimizer, (x, y) in zip(models, optimizers, together, strict=True):
            step(model, optimizer, x, y)
        if k % every == 0:
            with torch.no_grad():
                for same in zip(*(model.parameters() for model in models), strict=True):
                    mean = torch.stack(same).mean(0)
                    for parameter in same:
                        parameter.copy_(mean)
    return said(models[0], [])


def ddp(
    rank: int, world: int, dtype: torch.dtype = torch.float32, steps: int = MANY, **keywords: Any
) -> dict[str, Any]:
    # Each begins elsewhere: DDP hands around what the first process has.
    model = network(dtype) if rank == 0 else it.mlp(DIMS, NIS, seed=2 + rank, dtype=dtype)
    wrapped = DDP(model)
    optimizer = it.CSGD(wrapped, LR, clip=CLIP, **keywords)
    return said(model, [step(wrapped, optimizer, x, y) for x, y in batches(rank, world, steps)])


def ddp_f64(rank: int, world: int) -> dict[str, Any]:
    return ddp(rank, world, torch.float64, FEW, momentum=0.5)


def no_sync(rank: int, world: int) -> dict[str, Any]:
    """Gradients of two halves of a part are added up before they are averaged."""
    model = network(torch.float64)
    wrapped = DDP(model)
    optimizer = it.CSGD(wrapped, LR, clip=CLIP)
    for x, y in batches(rank, world):
        optimizer.zero_grad()
        halves = list(zip(x.double().chunk(2), y.chunk(2), strict=True))
        for k, (some, labels) in enumerate(halves):
            with wrapped.no_sync() if k == 0 else nullcontext():
                (F.cross_entropy(wrapped(some), labels, reduction="sum") / len(x)).backward()
        optimizer.step()
    return said(model, [])


def join(rank: int, world: int) -> dict[str, Any]:
    """Each process has other numbers of batches."""
    model = network()
    wrapped = DDP(model)
    optimizer = it.CSGD(wrapped, LR, clip=CLIP)
    with Join([wrapped]):
        losses = [step(wrapped, optimizer, x, y) for x, y in batches(rank, world, 10 + 5 * rank)]
    return said(model, losses)


def adaptive(rank: int, world: int) -> dict[str, Any]:
    """Another optimiser."""
    model = network()
    wrapped = DDP(model)
    optimizer = it.AdamW(wrapped, 1e-3)
    return said(model, [step(wrapped, optimizer, x, y) for x, y in batches(rank, world)])


def kinds(rank: int, world: int) -> dict[str, Any]:
    """Networks with statistics of batches, and with signs of inputs, which DDP hands around as buffers."""
    models = nn.ModuleList(
        [it.mlp(DIMS, kind=kind, seed=1) for kind in ("batch_norm", "column_ei", "layer_norm")]
    )
    for model in models:
        wrapped = DDP(model)
        optimizer = it.CSGD(wrapped, LR, momentum=0.5)
        for x, y in batches(rank, world, 20):
            step(wrapped, optimizer, x, y)
        # Each forward pass begins with the buffers of the first process.
        wrapped(x)
    return said(models, [])


def averaged_by_torch(rank: int, world: int) -> dict[str, Any]:
    """As `local`, by PyTorch's averages, which leave out parameters without a gradient: so not fused."""
    model = network()
    optimizer = it.CSGD(model, LR, clip=CLIP)
    averager = PeriodicModelAverager(period=5, warmup_steps=4)
    for x, y in batches(rank, world, MANY):
        step(model, optimizer, x, y)
        averager.average_parameters(model.parameters())
    return said(model, [])


def local(
    rank: int, world: int, dtype: torch.dtype = torch.float32, steps: int = MANY, every: int = 5
) -> dict[str, Any]:
    """Each process steps on its own, and parameters are averaged every some steps."""
    model = network(dtype)
    optimizer = it.CSGD(model, LR, clip=CLIP, fused=True, local=True)
    losses = []
    for k, (x, y) in enumerate(batches(rank, world, steps), 1):
        losses.append(step(model, optimizer, x, y))
        if k % every == 0:
            it.average_parameters(model)
    return said(model, losses)


def local_f64(rank: int, world: int) -> dict[str, Any]:
    return local(rank, world, torch.float64, FEW)


def local_whole(rank: int, world: int, every: int = 5) -> dict[str, Any]:
    """As `local`, by whole steps in one call."""
    model = network()
    optimizer = it.CSGD(model, LR, clip=CLIP, local=True)
    losses = []
    for k, (x, y) in enumerate(batches(rank, world, MANY), 1):
        losses.append(it.train_step(model, x, y, optimizer))
        if k % every == 0:
            it.average_parameters(model)
    return said(model, losses)


def average(rank: int, world: int) -> dict[str, Any]:
    """The mean of what each process has, in both element types, statistics of batches among it."""
    models = nn.ModuleList(
        [
            it.mlp([12, 8, 3], kind="batch_norm", seed=rank),
            it.mlp([12, 8, 3], [2, 1], seed=rank, dtype=torch.float64),
        ]
    )
    # No floating point, so it stays.
    models.register_buffer("count", torch.tensor(rank))
    versions = [it._version for it in models.parameters()]
    before = said(models, [])["params"]
    it.average_parameters(models)
    assert all(it._version > version for it, version in zip(models.parameters(), versions, strict=True))
    after = said(models, [])["params"]
    return {"before": before, "count": after.pop("count"), "params": after}


def refused(call: Callable[[], Any]) -> str:
    """The text of the error that a call raises."""
    try:
        call()
    except RuntimeError as error:
        return str(error)
    return "nothing was raised"


def fused(rank: int, world: int) -> dict[str, Any]:
    """What steps within the backward pass is refused, and changes nothing."""
    x, y = next(batches(rank, world))
    model = network()
    before = said(model, [])["params"]
    texts = {
        "made": refused(lambda: it.CSGD(DDP(model), LR, fused=True)),
        "whole": refused(lambda: it.train_step(model, x, y, it.CSGD(model, LR))),
        "backward": refused(lambda: step(earlier[0], earlier[1], x, y)),
    }
    after = [*model.state_dict().items(), *earlier[0].state_dict().items()]
    return {"texts": texts, "changed": any(not torch.equal(array, before[name]) for name, array in after)}


CASES = [
    ddp,
    ddp_f64,
    no_sync,
    join,
    adaptive,
    kinds,
    averaged_by_torch,
    local,
    local_f64,
    local_whole,
    average,
    fused,
]

if __name__ == "__main__":
    folder, rank, world = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    # Before there are several processes.
    net = network()
    earlier = net, it.CSGD(net, LR, fused=True)
    alone = {"f32": one_process(torch.float32), "f64": one_process(torch.float64)}
    alone["f64 momentum"] = one_process(torch.float64, momentum=0.5)
    alone["f64 local"] = local_in_one_process(world, torch.float64)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder / 'meeting'}",
        rank=rank,
        world_size=world,
        timeout=timedelta(seconds=30),
    )
    results: dict[str, Any] = {"alone": alone}
    for case in CASES:
        try:
            results[case.__name__] = case(rank, world)
        except Exception:
            # What comes after it would wait for the others.
            results["error"] = traceback.format_exc()
            break
    torch.save(results, folder / f"{rank}.pt")
    dist.destroy_process_group()
    # Threads of PyTorch's (2.15) now and then abort a process that ends as usual, also without this package.
    os._exit(0)
