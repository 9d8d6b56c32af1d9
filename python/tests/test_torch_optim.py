"""Optimisers against the same formulas in PyTorch's operations, and as users hold them."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from common import assert_close, batches, differing, f32, f64
from torch import Tensor, nn

import interneuron.torch as it
from interneuron.errors import InvalidValue, ShapeError

Named = dict[str, Tensor]


class ByHand:
    """A layer's steps by the formulas, on copies of its parameters in float64. Gradients are handed to it."""

    def __init__(self, layer: it.Layer, **numbers: Any) -> None:
        self.params = {name: array.detach().double().clone() for name, array in layer.named_parameters()}
        self.described = {name: it for name, *it in layer.shape.parameters}
        self.numbers = numbers
        self.kept: dict[str, Named] = {name: {} for name in self.params}
        self.steps = 0

    def number(self, key: str, name: str, missing: float = 0.0) -> float:
        value = self.numbers.get(key, missing)
        return value.get(self.described[name][1], missing) if isinstance(value, dict) else value

    def prepared(self, gradients: Named) -> Named:
        """Corrections, then clipping over the layer."""
        fixed = self.numbers.get("corrections", True)
        scaled = {
            name: array * (self.described[name][3] if fixed else 1.0) for name, array in gradients.items()
        }
        if self.numbers.get("clip") is not None:
            norm = math.sqrt(sum(float(array.square().sum()) for array in scaled.values()))
            factor = min(1.0, self.numbers["clip"] / (norm + 1e-6))
            scaled = {name: factor * array for name, array in scaled.items()}
        return scaled

    def velocity(self, key: str, name: str, value: Tensor) -> Tensor:
        momentum, kept = self.number("momentum", name), self.kept[name]
        if not momentum:
            return value
        share = 1.0 if key not in kept else 1.0 - self.numbers.get("dampening", 0.0)
        kept[key] = momentum * kept.get(key, torch.zeros_like(value)) + share * value
        return value + momentum * kept[key] if self.numbers.get("nesterov") else kept[key]

    def step(self, gradients: Named) -> None:
        self.steps += 1
        scaled = self.prepared(gradients)
        directions = {}
        for name, theta in self.params.items():
            directions[name] = self.velocity(
                "v", name, scaled[name] + self.number("weight_decay", name) * theta
            )
        rate = 1.0
        if self.numbers.get("angle") is not None:
            rate = self.chosen(directions) / self.numbers["lr"]
        for name, theta in self.params.items():
            wanted = theta - rate * self.number("lr", name) * directions[name]
            self.params[name] = self.held(name, theta, wanted)

    def held(self, name: str, theta: Tensor, wanted: Tensor) -> Tensor:
        _, role, signed, _ = self.described[name]
        floor = self.numbers.get("floor")
        if not signed:
            return wanted.clamp(min=floor or 0.0)
        if floor is not None and role == "Wex":
            # No weight crosses zero, and none comes nearer to it than the floor.
            sign = torch.where(theta.signbit(), -1.0, 1.0).to(theta)
            return sign * (sign * wanted).clamp(min=floor)
        return wanted

    def chosen(self, directions: Named) -> float:
        """The largest rate with which what the bound leaves of the new parameters is nearly all of them."""
        low, rates, epsilon = self.numbers["angle"]
        lr = self.numbers["lr"]
        grid = [lr * (low / lr) ** (k / max(rates - 1, 1)) for k in range(rates)]
        for rate in grid:
            free = [
                theta - rate * directions[name]
                for name, theta in self.params.items()
                if not self.described[name][2]
            ]
            bounded = [array.clamp(min=self.numbers.get("floor") or 0.0) for array in free]
            norms = [math.sqrt(sum(float(it.square().sum()) for it in arrays)) for arrays in (bounded, free)]
            if norms[0] >= (1 - epsilon) * norms[1]:
                return rate
        return grid[-1]


class Exponentiated(ByHand):
    """Parameters shrink and grow; a bias is the difference of two parts that do."""

    def step(self, gradients: Named) -> None:
        scaled, lr, split = self.prepared(gradients), self.numbers["lr"], self.numbers["split"]
        for name, theta in self.params.items():
            along = self.velocity("v", name, scaled[name])
            decay = self.velocity("decay", name, torch.full_like(theta, self.number("weight_decay", name)))
            if self.described[name][1] != "b":
                sign = torch.where(theta < 0, -1.0, 1.0).to(theta)
                self.params[name] = theta * torch.exp(-lr * (sign * along + decay))
                continue
            parts = self.kept[name]
            if "minus" not in parts:
                parts["minus"] = (-theta).clamp(min=0) + split
            plus = (theta + parts["minus"]) * torch.exp(-lr * (along + decay))
            parts["minus"] = parts["minus"] * torch.exp(-lr * (decay - along))
            self.params[name] = plus - parts["minus"]


def network(kind: str = "dann", dtype: torch.dtype = f64) -> nn.Sequential:
    return it.mlp([9, 8, 4], [3, 2] if kind == "dann" else None, kind=kind, seed=1, dtype=dtype)


def losses(
    model: nn.Module, optimizer: torch.optim.Optimizer, steps: int, after: Any = lambda: None
) -> list[float]:
    seen = []
    for x, y in batches(steps, 16, 9, 4, next(model.parameters()).dtype):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        after()
        optimizer.step()
        seen.append(loss.item())
    return seen


def against(
    model: nn.Sequential, optimizer: torch.optim.Optimizer, hands: list[ByHand], steps: int = 25
) -> None:
    """Trains, and lets the formulas follow with the same gradients."""

    def follow() -> None:
        for layer, hand in zip(model, hands, strict=True):
            hand.step({name: array.grad.double() for name, array in layer.named_parameters()})

    starts = [array.detach().clone() for array in model.parameters()]
    losses(model, optimizer, steps, follow)
    assert not any(map(torch.equal, starts, model.parameters()))
    for layer, hand in zip(model, hands, strict=True):
        for name, array in layer.named_parameters():
            # Rounded in each of the steps, in which differences may grow.
            assert_close(name, array, hand.params[name], f64, 100.0)
            if not hand.described[name][2]:
                assert float(array.detach().min()) >= 0


CSGD = {
    "plain": {},
    "projection alone": {"corrections": False},
    "momentum": {"momentum": 0.9},
    "dampening": {"momentum": 0.9, "dampening": 0.3},
    "nesterov": {"momentum": 0.8, "nesterov": True},
    "decay": {"weight_decay": 0.05},
    "decay and momentum": {"weight_decay": 0.02, "momentum": 0.7},
    "clip": {"clip": 0.05},
    "angle": {"angle": (0.01, 7, 0.001)},
    "angle of one rate": {"angle": (0.2, 1, 0.001)},
    "floor": {"floor": 0.01},
    "floor of zero": {"floor": 0.0},
    "all": {"momentum": 0.9, "weight_decay": 0.01, "clip": 0.3, "angle": (0.02, 5, 1e-4), "floor": 1e-3},
}


@pytest.mark.parametrize("numbers", CSGD.values(), ids=list(CSGD))
@pytest.mark.parametrize("kind", ["dann", "mlp", "column_ei", "layer_norm", "batch_norm"])
@pytest.mark.parametrize("fused", [False, True], ids=["step", "fused"])
def test_csgd(kind: str, numbers: dict[str, Any], fused: bool) -> None:
    model = network(kind)
    optimizer = it.CSGD(model, lr=0.2, fused=fused, **numbers)
    if not fused:
        against(model, optimizer, [ByHand(layer, lr=0.2, **numbers) for layer in model])
        return
    # The gradients are not there to be followed, but those of the other form are known to be right.
    other = network(kind)
    assert losses(model, optimizer, 25) == losses(other, it.CSGD(other, lr=0.2, **numbers), 25)
    assert not differing(model, other)
    assert all(array.grad is None for array in model.parameters())


EG = {
    "plain": {},
    "momentum": {"momentum": 0.9},
    "decay": {"weight_decay": 0.03},
    "both": {"momentum": 0.6, "weight_decay": 0.03},
    "clip": {"clip": 0.05, "split": 0.3},
    "corrections": {"corrections": True},
}


@pytest.mark.parametrize("numbers", EG.values(), ids=list(EG))
@pytest.mark.parametrize("kind", ["dann", "mlp"])
def test_eg(kind: str, numbers: dict[str, Any]) -> None:
    model = network(kind)
    numbers = {"corrections": False, "split": 0.1, **numbers}
    optimizer = it.EG(model, lr=0.2, **numbers)
    signs = [array.detach().sign() for array in model.parameters()]
    against(model, optimizer, [Exponentiated(layer, lr=0.2, **numbers) for layer in model])
    for sign, (name, array) in zip(signs, model.named_parameters(), strict=True):
        assert name.endswith("b") or torch.equal(array.detach().sign(), sign), name


ADAM = {
    "plain": {},
    "amsgrad": {"amsgrad": True},
    "other numbers": {"betas": (0.7, 0.8), "eps": 1e-3, "weight_decay": 0.3},
    "no decay": {"weight_decay": 0.0},
}


@pytest.mark.parametrize("numbers", ADAM.values(), ids=list(ADAM))
@pytest.mark.parametrize("decoupled", [True, False], ids=["AdamW", "Adam"])
def test_adamw_is_that_of_pytorch_and_a_bound(numbers: dict[str, Any], decoupled: bool) -> None:
    model, other = network(), network()
    numbers = {"weight_decay": 1e-2, **numbers}
    theirs = (torch.optim.AdamW if decoupled else torch.optim.Adam)(other.parameters(), lr=0.01, **numbers)
    ours = it.AdamW(model, lr=0.01, decoupled=decoupled, **numbers)
    for x, y in batches(25, 16, 9, 4, f64):
        ours.zero_grad()
        F.cross_entropy(model(x), y).backward()
        for mine, their in zip(model.parameters(), other.parameters(), strict=True):
            their.grad = mine.grad.clone()
        ours.step()
        theirs.step()
        with torch.no_grad():
            for name, array in other.named_parameters():
                if name.split(".")[1] in ("Wex", "Wix", "Wei", "g"):
                    array.clamp_(min=0)
    for (name, mine), their in zip(model.named_parameters(), other.parameters(), strict=True):
        assert_close(name, mine, their, f64, 100.0)


def test_adamw_corrects_the_quotient_and_clips() -> None:
    plain, corrected = network(), network()
    before = [array.detach().clone() for array in plain.parameters()]
    for model, corrections in ((plain, False), (corrected, True)):
        losses(model, it.AdamW(model, lr=1e-4, weight_decay=0.0, corrections=corrections), 1)
    correction = {
        f"{k}.{name}": it for k, layer in enumerate(plain) for name, _, _, _, it in layer.shape.parameters
    }
    for (name, one), other, start in zip(
        plain.named_parameters(), corrected.parameters(), before, strict=True
    ):
        moved = one.detach() != 0
        assert_close(name, ((other - start) * moved), (one - start) * moved * correction[name], f64, 1e4)
    clipped = network()
    losses(clipped, it.AdamW(clipped, lr=1e-4, weight_decay=0.0, clip=1e-3, eps=1.0), 1)
    whole = network()
    losses(whole, it.AdamW(whole, lr=1e-4, weight_decay=0.0, eps=1.0), 1)
    assert differing(clipped, whole)


def test_adamweg_is_adam_along_exponents() -> None:
    model, reference = network(), network()
    starts = {name: array.detach().clone() for name, array in model.named_parameters()}
    losses(model, it.AdamWEG(model, lr=0.01, weight_decay=0.1), 1)
    # The first step of Adam is along the sign of the gradient.
    x, y = batches(1, 16, 9, 4, f64)[0]
    F.cross_entropy(reference(x), y).backward()
    for (name, array), of in zip(model.named_parameters(), reference.parameters(), strict=True):
        if name.endswith(".b"):
            continue
        theta, along = starts[name], of.grad / (of.grad.abs() + 1e-8)
        expected = (1 - 0.01 * 0.1) * theta * torch.exp(-0.01 * theta.sign() * along)
        assert_close(name, array, expected, f64, 100.0)


def test_natural_gradients() -> None:
    x, y = batches(1, 16, 9, 4, f64)[0]
    runs = []
    for seed in (1, 1, 2):
        model = network()
        optimizer = it.NaturalGradient(model, lr=0.5, seed=seed)
        seen = [it.train_step(model, x, y, optimizer) for _ in range(30)]
        assert seen[-1] < seen[0]
        assert all(
            float(array.detach().min()) >= 0 for name, array in model.named_parameters() if "W" in name
        )
        runs.append(model)
    assert not differing(runs[0], runs[1])
    # The labels that it draws are others.
    assert differing(runs[0], runs[2])


def test_numbers_of_each_role() -> None:
    model = network()
    rates = {"Wex": 0.2, "Wix": 0.1, "Wei": 0.05, "alpha": 0.02, "g": 0.2, "b": 0.3}
    momenta = {"Wex": 0.9, "Wei": 0.5}
    decays = {"Wex": 0.01, "g": 0.02}
    overrides = {
        role: {"lr": rate, "momentum": momenta.get(role, 0.0), "weight_decay": decays.get(role, 0.0)}
        for role, rate in rates.items()
    }
    optimizer = it.CSGD(it.param_groups(model, **overrides), lr=1.0)
    assert [group["role"] for group in optimizer.param_groups] == list(rates)
    against(
        model,
        optimizer,
        [ByHand(layer, lr=rates, momentum=momenta, weight_decay=decays) for layer in model],
    )
    with pytest.raises(ValueError, match=r"no parameters of the role 'W': expected some of \['Wex', 'Wix'"):
        it.param_groups(model, W={"lr": 1.0})


def test_numbers_of_each_layer() -> None:
    model = network()
    groups = [{"params": model[0].parameters()}, {"params": model[1].parameters(), "lr": 0.01, "clip": 0.02}]
    optimizer = it.CSGD(groups, lr=0.2)
    against(model, optimizer, [ByHand(model[0], lr=0.2), ByHand(model[1], lr=0.01, clip=0.02)])


def test_schedulers() -> None:
    for tensor in (False, True):
        model = network()
        optimizer = it.CSGD(model, lr=torch.tensor(0.2, dtype=f64) if tensor else 0.2, momentum=0.5)
        scheduler = torch.optim.lr_scheduler.SequentialLR(
            optimizer,
            [
                torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, total_iters=5),
                torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20),
            ],
            [5],
        )
        hands = [ByHand(layer, lr=0.2, momentum=0.5) for layer in model]
        rates = []
        for x, y in batches(20, 16, 9, 4, f64):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            rates.append(float(optimizer.param_groups[0]["lr"]))
            for layer, hand in zip(model, hands, strict=True):
                hand.numbers["lr"] = rates[-1]
                hand.step({name: array.grad for name, array in layer.named_parameters()})
            optimizer.step()
            scheduler.step()
        assert len(set(rates)) > 15
        for layer, hand in zip(model, hands, strict=True):
            for name, array in layer.named_parameters():
                assert_close(name, array, hand.params[name], f64, 100.0)


def test_schedulers_with_whole_steps() -> None:
    model, other = network(), network()
    ours, theirs = it.CSGD(model, lr=0.2), it.CSGD(other, lr=0.2)
    schedulers = [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.8) for optimizer in (ours, theirs)]
    for x, y in batches(10, 16, 9, 4, f64):
        it.train_step(model, x, y, ours)
        theirs.zero_grad()
        it.loss(other(x), y).backward()
        theirs.step()
        for scheduler in schedulers:
            # It warns of an optimiser that took no step, and warnings are errors here.
            scheduler.step()
    assert not differing(model, other)


def test_closures() -> None:
    for fused in (False, True):
        model, other = network(), network()
        optimizer, plain = it.CSGD(model, lr=0.2, fused=fused), it.CSGD(other, lr=0.2)
        for x, y in batches(5, 16, 9, 4, f64):

            def closure() -> Tensor:
                optimizer.zero_grad()
                loss = F.cross_entropy(model(x), y)
                loss.backward()
                return loss

            returned = optimizer.step(closure)
            plain.zero_grad()
            loss = F.cross_entropy(other(x), y)
            loss.backward()
            plain.step()
            assert torch.equal(returned, loss)
        assert not differing(model, other)


@pytest.mark.parametrize(
    "numbers", [{}, {"momentum": 0.9}, {"weight_decay": 0.1}], ids=["plain", "momentum", "decay"]
)
def test_parameters_that_are_left_alone(numbers: dict[str, float]) -> None:
    for left in ("Wex", "Wei", "alpha", "b"):
        for how in ("frozen", "fused", "no gradient", "in no group"):
            model = network()
            arrays = [getattr(layer, left) for layer in model]
            before = [array.detach().clone() for array in arrays]
            params = list(model.parameters())
            if how in ("frozen", "fused"):
                for array in arrays:
                    array.requires_grad_(False)
            if how == "in no group":
                params = [it for it in params if not any(it is array for array in arrays)]
            optimizer = it.CSGD(params, lr=0.2, fused=how == "fused", **numbers)

            def forget() -> None:
                if how == "no gradient":
                    for array in arrays:
                        array.grad = None

            losses(model, optimizer, 3, forget)
            assert all(map(torch.equal, arrays, before)), (left, how)
            # Others did move, and go on to where they go in the other ways.
            assert all(
                not torch.equal(layer.g, fresh.g) for layer, fresh in zip(model, network(), strict=True)
            )
    # A layer that no backward pass has reached.
    model = network()
    optimizer = it.CSGD(model, lr=0.2, **numbers)
    x = torch.rand(3, 8, dtype=f64)
    model[1](x).sum().backward()
    optimizer.step()
    assert set(differing(model, network())) <= {
        name for name, _ in model.named_parameters() if name.startswith("1")
    }


def test_parameters_that_thaw() -> None:
    # A step asks once whether they require a gradient.
    for fused in (False, True):
        model, other = network(), network()
        ours, theirs = it.CSGD(model, lr=0.2, fused=fused), it.CSGD(other, lr=0.2)
        for k, (x, y) in enumerate(batches(6, 16, 9, 4, f64)):
            for net, optimizer in ((model, ours), (other, theirs)):
                for layer in net:
                    layer.Wei.requires_grad_(k >= 3)
                optimizer.zero_grad()
                F.cross_entropy(net(x), y).backward()
                optimizer.step()
            if k == 2:
                assert {"0.Wei", "1.Wei"}.isdisjoint(differing(model, network()))
        assert not differing(model, other)
        assert {"0.Wei", "1.Wei"} <= set(differing(model, network()))


@pytest.mark.parametrize(
    "numbers",
    [
        {},
        {"momentum": 0.9},
        {"momentum": 0.9, "dampening": 0.5, "weight_decay": 0.1},
        {"momentum": 0.9, "nesterov": True},
    ],
    ids=["plain", "momentum", "dampening", "nesterov"],
)
def test_parameters_of_other_modules(numbers: dict[str, Any]) -> None:
    def made() -> nn.Sequential:
        torch.manual_seed(0)
        linear, norm = nn.Linear(9, 8, dtype=f64), nn.LayerNorm(8, dtype=f64)
        return nn.Sequential(
            linear, norm, nn.ReLU(), it.DannLinear(8, 4, 2, nonlinearity=None, seed=1, dtype=f64)
        )

    model, other = made(), made()
    ours = it.CSGD(model, lr=0.1, **numbers)
    alone = it.CSGD(other[3], lr=0.1, **numbers)
    theirs = torch.optim.SGD([*other[0].parameters(), *other[1].parameters()], lr=0.1, **numbers)
    for x, y in batches(10, 16, 9, 4, f64):
        ours.zero_grad()
        F.cross_entropy(model(x), y).backward()
        ours.step()
        other.zero_grad()
        F.cross_entropy(other(x), y).backward()
        alone.step()
        theirs.step()
    for (name, one), two in zip(model.named_parameters(), other.parameters(), strict=True):
        assert_close(name, one, two, f64)
    # They are not bounded.
    assert float(model[0].weight.detach().min()) < 0
    state = copy.deepcopy(ours.state_dict())
    ours.load_state_dict(state)
    assert ("momentum_buffer" in ours.state_dict()["state"].get(0, {})) == ("momentum" in numbers)


def test_groups_that_are_added() -> None:
    first, second = it.DannLinear(6, 5, 2, seed=1), it.DannLinear(5, 3, 1, seed=2)
    optimizer = it.CSGD(first, lr=0.1, momentum=0.9)
    model = nn.Sequential(first, second)
    model(torch.rand(4, 6)).square().sum().backward()
    optimizer.step()
    before = optimizer.state_dict()["state"]
    optimizer.add_param_group({"params": second.parameters(), "lr": 0.3})
    assert optimizer.param_groups[1]["momentum"] == 0.9
    after = optimizer.state_dict()["state"]
    # What is kept of the first layer stays.
    assert before.keys() == after.keys() and len(before) == 6
    assert all(torch.equal(before[key]["momentum_buffer"], after[key]["momentum_buffer"]) for key in before)
    start = second.Wex.detach().clone()
    optimizer.step()
    assert not torch.equal(second.Wex, start)
    other = nn.Linear(3, 2)
    optimizer.add_param_group({"params": other.parameters()})
    with pytest.raises(InvalidValue, match="lr is -1: expected a finite number"):
        optimizer.add_param_group({"params": nn.Linear(3, 2).parameters(), "lr": -1.0})
    with pytest.raises(InvalidValue, match="lr is -2: expected a finite number"):
        third = it.Linear(3, 2)
        optimizer.add_param_group({"params": third.parameters(), "lr": -2.0})
    assert len(optimizer.param_groups) == 3
    adam = it.AdamW(it.DannLinear(6, 5, 2))
    with pytest.raises(
        ValueError, match="params has 2 parameters of other modules: .* AdamW has no step for others"
    ):
        adam.add_param_group({"params": other.parameters()})
    assert len(adam.param_groups) == 1
    adam.step()


def test_a_second_optimiser_takes_over() -> None:
    model, other = network(), network()
    it.CSGD(model, lr=0.2, fused=True)
    # The first is gone, and with it the fused update.
    losses(model, it.CSGD(model, lr=0.2), 3)
    losses(other, it.CSGD(other, lr=0.2), 3)
    assert not differing(model, other)
    first = it.CSGD(model, lr=0.2, fused=True)
    second = it.CSGD(model, lr=0.2)
    losses(model, first, 3)
    losses(other, it.CSGD(other, lr=0.2), 3)
    assert not differing(model, other) and second.param_groups


def test_one_optimiser_for_each_role() -> None:
    model, other = network(), network()
    optimizers = [it.CSGD([group], lr=0.2, momentum=0.9) for group in it.param_groups(model)]
    whole = it.CSGD(other, lr=0.2, momentum=0.9)
    for x, y in batches(10, 16, 9, 4, f64):
        for net in (model, other):
            net.zero_grad()
            F.cross_entropy(net(x), y).backward()
        for optimizer in optimizers:
            optimizer.step()
        whole.step()
    assert not differing(model, other)


def test_fused_updates_in_evaluation() -> None:
    # There gradients are handed out, and a step takes them.
    model, other = network(), network()
    model.eval()
    optimizer = it.CSGD(model, lr=0.2, fused=True)
    losses(model, optimizer, 3)
    losses(other, it.CSGD(other, lr=0.2), 3)
    assert not differing(model, other)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda m: it.CSGD(m, lr=-0.1), "lr is -0.1: expected a finite number ≥ 0"),
        (lambda m: it.CSGD(m, lr=math.nan), "lr is NaN: expected a finite number ≥ 0"),
        (lambda m: it.CSGD(m, lr=1e60), "lr is 10+: expected a finite number ≥ 0"),
        (
            lambda m: it.CSGD(m, lr=0.1, momentum=1.0),
            "momentum of Wex is 1: expected at least 0 and less than 1",
        ),
        (lambda m: it.CSGD(m, lr=0.1, momentum=-0.1), "momentum of Wex is -0.1"),
        (lambda m: it.CSGD(m, lr=0.1, weight_decay=-1.0), "decay of Wex is -1: expected a finite number ≥ 0"),
        (lambda m: it.CSGD(m, lr=0.1, clip=0.0), "clip is 0: expected a finite number > 0"),
        (lambda m: it.CSGD(m, lr=0.1, floor=-1.0), "floor is -1: expected a finite number ≥ 0"),
        (lambda m: it.CSGD(m, lr=0.1, angle=(1.0, 3, 0.1)), "lr_min is 1: expected above 0 and at most lr"),
        (
            lambda m: it.CSGD(m, lr=0.1, momentum=0.5, nesterov=True, dampening=0.5),
            "dampening is 0.5: expected 0 with Nesterov's momentum",
        ),
        (lambda m: it.AdamW(m, betas=(1.0, 0.9)), "beta1 is 1: expected at least 0 and less than 1"),
        (lambda m: it.AdamW(m, betas=(0.9, -0.1)), "beta2 is -0.1"),
        (lambda m: it.AdamW(m, eps=-1.0), "epsilon is -1"),
        (lambda m: it.EG(m, lr=0.1, split=0.0), "split is 0"),
        (lambda m: it.AdamWEG(m, split=-1.0), "split is -1"),
        (lambda m: it.NaturalGradient(m, lr=0.1, c=0.0), "c is 0"),
        (lambda m: it.CSGD(it.param_groups(m, Wei={"momentum": 2.0}), lr=0.1), "momentum of Wei is 2"),
        (lambda m: it.EG(m, lr=0.1, kept_sums="all"), 'kept_sums is "all": expected one of'),
    ],
)
def test_numbers_that_cannot_be(make: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make(network(dtype=f32))


def test_parameters_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="params has no parameter of a layer of interneuron.torch"):
        it.CSGD(nn.Linear(3, 2), lr=0.1)
    mixed = nn.Sequential(it.DannLinear(3, 2, 1), nn.Linear(2, 2))
    for kind in (it.AdamW, it.EG, it.AdamWEG, it.NaturalGradient):
        with pytest.raises(
            ValueError, match=f"2 parameters of other modules.*{kind.__name__} has no step for others"
        ):
            kind(mixed, lr=0.1)
    with pytest.raises(
        TypeError, match="is of torch.bfloat16 on cpu: expected float32 or float64 on the CPU"
    ):
        it.CSGD(it.DannLinear(3, 2, 1, dtype=torch.bfloat16), lr=0.1)
    with pytest.raises(TypeError, match="is of torch.float32 on meta"):
        it.CSGD(it.DannLinear(3, 2, 1, device="meta"), lr=0.1)
    model = network()
    wex, *rest = model[0].parameters()
    groups = [{"params": [wex], "clip": 0.1}, {"params": rest}]
    with pytest.raises(
        ValueError, match="clip is 0.1 and None for parameters of the layer dann:9,8,3,relu,plain"
    ):
        it.CSGD(groups, lr=0.1)
    with pytest.raises(ValueError, match="Wex of the layer .* is in no group, with fused=True"):
        it.CSGD(rest, lr=0.1, fused=True)


def test_tied_parameters() -> None:
    one, other = it.Linear(5, 5, seed=1), it.Linear(5, 5, seed=2)
    other.W = one.W
    for fused in (False, True):
        with pytest.raises(
            ShapeError, match="W of the layer linear:5,5,relu shares memory with W of the layer"
        ):
            it.CSGD(nn.Sequential(one, other), lr=0.1, fused=fused)
    other.W = nn.Parameter(one.W.data.view(-1)[:25].view(5, 5))
    with pytest.raises(ShapeError, match="shares memory with"):
        it.CSGD(nn.Sequential(one, other), lr=0.1)
    # A layer that is there twice is one layer, and its gradients add up.
    model, alone = nn.Sequential(one, one), copy.deepcopy(one)
    ours, theirs = it.CSGD(model, lr=0.1), it.CSGD(alone, lr=0.1)
    x = torch.rand(3, 5)
    model(x).sum().backward()
    alone(alone(x)).sum().backward()
    ours.step()
    theirs.step()
    assert not differing(one, alone)
    # Within a layer.
    torn = it.DannLinear(5, 5, 5, seed=1)
    torn.Wix = nn.Parameter(torn.Wex.data)
    with pytest.raises(
        ShapeError, match="Wix of the layer .* shares memory with|Wex of the layer .* shares memory"
    ):
        it.CSGD(torn, lr=0.1)
