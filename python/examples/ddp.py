"""One network on several processes, by DistributedDataParallel: gradients are averaged in each step.

    OMP_NUM_THREADS=1 torchrun --nproc-per-node 2 ddp.py                        # on this machine
    torchrun --nnodes 2 --nproc-per-node 2 --rdzv-backend c10d --rdzv-endpoint HOST:29500 ddp.py    # on two

It pays where a backward pass takes longer than handing the gradients around: large batches, fast networks.
Networks as small as the paper's are faster on one process, or by local steps (local_sgd.py). The learning
rate is that of the whole batch.
"""

import argparse
import os
import sys

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel as DDP
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

import interneuron as inn
import interneuron.torch as it


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch", type=int, default=32, help="images of a step, of all processes together")
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--quick", action="store_true", help="some seconds")
    options = parser.parse_args()

    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    digits = inn.digits(400, 100, seed=1) if options.quick else inn.digits(8000, 2000, seed=1)
    x, y, x_test, y_test = map(torch.from_numpy, digits)
    data = TensorDataset(x, y)
    sampler = DistributedSampler(data, seed=1)
    loader = DataLoader(data, batch_size=options.batch // world, sampler=sampler)

    model = it.mlp([784, 200, 200, 10], [20, 20, 1], seed=1)
    # The optimiser sees averaged gradients, so that all processes take the same step. Not with fused=True:
    # such steps come before the average.
    wrapped = DDP(model)
    optimizer = it.CSGD(wrapped, lr=options.lr)
    for epoch in range(1 if options.quick else options.epochs):
        sampler.set_epoch(epoch)
        for some, labels in loader:
            optimizer.zero_grad()
            it.loss(wrapped(some), labels).backward()
            optimizer.step()
        if rank == 0:
            with torch.no_grad():
                error = (model(x_test).argmax(1) != y_test).float().mean()
            print(f"epoch {epoch + 1}: test error {100 * error:.2f} % on {world} processes", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
    # PyTorch's threads for gloo may abort a process while Python ends, which a launcher takes for a failure.
    sys.stdout.flush()
    os._exit(0)
