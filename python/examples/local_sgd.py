"""One network on several processes, by local steps, and averages of the parameters now and then.

    OMP_NUM_THREADS=1 torchrun --nproc-per-node 2 local_sgd.py --every 10

Steps are those of one process, in its backward pass, with nothing to wait for; each tenth is followed by an
average. Averages of weights ≥ 0 are ≥ 0. It learns about as DDP (ddp.py) does in as many steps.
"""

import argparse
import os
import sys

import torch
import torch.distributed as dist
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

import interneuron as inn
import interneuron.torch as it


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch", type=int, default=32, help="images of a step of each process")
    parser.add_argument("--every", type=int, default=10, metavar="N", help="steps between averages")
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--quick", action="store_true", help="some seconds")
    options = parser.parse_args()

    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    digits = inn.digits(400, 100, seed=1) if options.quick else inn.digits(8000, 2000, seed=1)
    x, y, x_test, y_test = map(torch.from_numpy, digits)
    data = TensorDataset(x, y)
    sampler = DistributedSampler(data, seed=1)
    loader = DataLoader(data, batch_size=options.batch, sampler=sampler)

    # The same seed on all processes, so that they begin alike.
    model = it.mlp([784, 200, 200, 10], [20, 20, 1], seed=1)
    # Steps within the backward pass. local=True says that no other process is to hear of them; the same has
    # it.train_step, the whole step in one call.
    optimizer = it.CSGD(model, lr=options.lr, fused=True, local=True)
    step = 0
    for epoch in range(1 if options.quick else options.epochs):
        sampler.set_epoch(epoch)
        for some, labels in loader:
            it.loss(model(some), labels).backward()
            optimizer.step()
            step += 1
            if step % options.every == 0:
                it.average_parameters(model)
        # Networks are one again before somebody looks at them.
        it.average_parameters(model)
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
