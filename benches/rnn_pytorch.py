"""The time of a train step through time in PyTorch, for the networks of `roofline`'s rows `rnn_step`.

The same equations, step by step in a loop, as users write them: a recurrent layer with interneurons in both legs that
subtract, in float32, forward, loss at the last step, backward, corrected SGD and the clamp, on one thread. Beside it
torch.nn.RNN of the same size, which has no inhibition and a loop of its own.

    cargo run --release --example roofline -- --json runs/roofline.json
    python benches/rnn_pytorch.py --roofline runs/roofline.json

With --roofline it says how many times as long PyTorch takes. Both should run on the same machine, one after the other,
with nothing else beside them. Without PyTorch it says so and ends.
"""

import argparse
import json
import statistics
import sys
import time

try:
    import torch
except ImportError:
    print("SKIPPED: PyTorch is not installed")
    sys.exit(0)

# Inputs, units, interneurons of either leg, outputs, steps, examples.
SIZES = [(28, 100, 10, 10, 28, 32), (3, 125, 25, 3, 60, 200), (10, 1000, 100, 3, 300, 64)]


class Leg(torch.nn.Module):
    """`A = v Lexᵀ − (v Lixᵀ) Leiᵀ`."""

    def __init__(self, inputs, units, interneurons, scale):
        super().__init__()
        ex = torch.empty(units, inputs).exponential_(1.0 / scale)
        ei = torch.empty(units, interneurons).exponential_()
        self.ex = torch.nn.Parameter(ex)
        self.ix = torch.nn.Parameter(ex.mean(0, keepdim=True).repeat(interneurons, 1))
        self.ei = torch.nn.Parameter(ei / ei.sum(1, keepdim=True))

    def forward(self, v):
        return v @ self.ex.T - (v @ self.ix.T) @ self.ei.T


class Dann(torch.nn.Module):
    """A recurrent DANN and a DANN readout of the last step."""

    def __init__(self, d, ne, ni, outputs):
        super().__init__()
        scale = (1.0 / (3 * (ne - 1))) ** 0.5
        self.u, self.w = Leg(d, ne, ni, scale), Leg(ne, ne, ni, scale)
        self.readout = Leg(ne, outputs, 1, (2 * outputs / (ne * (outputs - 1))) ** 0.5)
        self.b, self.c = torch.nn.Parameter(torch.zeros(ne)), torch.nn.Parameter(torch.zeros(outputs))

    def forward(self, x):
        drive = self.u(x) + self.b
        h = torch.relu(drive[0])
        for z in drive[1:]:
            h = torch.relu(z + self.w(h))
        return self.readout(h) + self.c

    def corrections(self, d, ne, outputs):
        """The factor of each parameter's gradient."""
        legs = [(self.u, ne, d), (self.w, ne, ne), (self.readout, outputs, ne)]
        factors = {id(leg.ix): units**-0.5 for leg, units, _ in legs} | {id(leg.ei): 1.0 / n for leg, _, n in legs}
        signed = {id(self.b), id(self.c)}
        return [(p, factors.get(id(p), 1.0), id(p) not in signed) for p in self.parameters()]


class Plain(torch.nn.Module):
    """torch.nn.RNN and a linear readout of the last step."""

    def __init__(self, d, ne, _, outputs):
        super().__init__()
        self.rnn = torch.nn.RNN(d, ne, nonlinearity="relu")
        self.readout = torch.nn.Linear(ne, outputs)

    def forward(self, x):
        return self.readout(self.rnn(x)[0][-1])

    def corrections(self, *_):
        return [(p, 1.0, False) for p in self.parameters()]


def milliseconds(network, size, seconds):
    """The median time of a step."""
    d, ne, _, outputs, steps, examples = size
    x, labels = torch.rand(steps, examples, d), torch.randint(outputs, (examples,))
    rules, lr = network.corrections(d, ne, outputs), 1e-6

    def step():
        begin = time.perf_counter()
        loss = torch.nn.functional.cross_entropy(network(x), labels)
        gradients = torch.autograd.grad(loss, [p for p, _, _ in rules])
        with torch.no_grad():
            for (p, factor, non_negative), gradient in zip(rules, gradients):
                p.sub_(gradient, alpha=lr * factor)
                if non_negative:
                    p.clamp_(min=0)
        return 1e3 * (time.perf_counter() - begin)

    step()
    times, end = [], time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        times.append(step())
    return statistics.median(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--roofline", metavar="FILE", help="figures of `roofline --json`, to set beside")
    parser.add_argument("--seconds", type=float, default=5.0, help="for each network (5)")
    args = parser.parse_args()
    ours = {}
    if args.roofline:
        with open(args.roofline, encoding="utf-8") as file:
            rows = json.load(file)["rows"]
        widest = [row for row in rows if row["threads"] == 1 and row["op"] in ("rnn_step", "plain_rnn_step")]
        # Of several instruction sets the last is the widest.
        ours = {(row["op"], tuple(row["dims"]), row["steps"], row["batch"]): row["us_median"] / 1e3 for row in widest}
    torch.set_num_threads(1)
    torch.manual_seed(1)
    print(f"PyTorch {torch.__version__}, 1 thread")
    print(f"{'network':16} {'sizes':>14} {'steps':>5} {'batch':>5}  {'PyTorch ms':>10}  {'ours ms':>8}  times as long")
    for size in SIZES:
        d, ne, ni, outputs, steps, examples = size
        for name, kind, op in [("DANN", Dann, "rnn_step"), ("torch.nn.RNN", Plain, "plain_rnn_step")]:
            time_of_theirs = milliseconds(kind(d, ne, ni, outputs), size, args.seconds)
            time_of_ours = ours.get((op, (d, ne, outputs), steps, examples))
            beside = f"{time_of_ours:8.2f}  {time_of_theirs / time_of_ours:.1f}" if time_of_ours else f"{'–':>8}"
            print(f"{name:16} {f'{d}-{ne}-{outputs}':>14} {steps:>5} {examples:>5}  {time_of_theirs:>10.2f}  {beside}")


if __name__ == "__main__":
    main()
