"""Optimisers for layers with separate excitatory and inhibitory units.

They step a whole layer at once, with its corrections and its bounds, in one pass of the kernels. Learning-rate schedulers,
state dicts, closures and parameter groups are those of every optimiser of PyTorch.
"""

from __future__ import annotations

import dataclasses
import operator
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .. import _core
from ..errors import ShapeError
from .modules import Layer, is_moved, layers_of

# What PyTorch calls what a step keeps, where it has a word for it.
_NAMES = {"velocity": "momentum_buffer", "moment": "exp_avg", "square": "exp_avg_sq", "largest_square": "max_exp_avg_sq"}
_KEPT = {theirs: ours for ours, theirs in _NAMES.items()}


def increment_version(arrays: Sequence[Tensor]) -> None:
    """Tells PyTorch that tensors were overwritten, so that a graph that needs them as they were is an error."""
    try:
        torch.autograd.graph.increment_version(arrays)
    except TypeError:
        # Before PyTorch 2.6 it takes one at a time.
        for array in arrays:
            torch.autograd.graph.increment_version(array)


def _is_distributed() -> bool:
    dist = torch.distributed
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


_DISTRIBUTED = (
    "a step within the backward pass, in a process group of {world}: what is averaged between processes comes too late for "
    "it, so each would go its own way. Expected fused=False under DistributedDataParallel, or local=True and "
    "average_parameters(model) every some steps"
)


def check_not_distributed(local: bool) -> None:
    """Refuses a step that no other process hears of, unless that is wanted."""
    if not local and _is_distributed():
        raise RuntimeError(_DISTRIBUTED.format(world=torch.distributed.get_world_size()))


@dataclasses.dataclass
class Numbers:
    """The numbers of an update: the learning rate, what there is for each role, and the others."""

    lr: float
    per_role: dict[str, dict[str, float]]
    fields: dict[str, Any]

    def update(self) -> _core.Update:
        """The update."""
        return _core.Update(self.lr, **self.per_role, **self.fields)  # type: ignore[arg-type]

    def joined(self, other: Numbers) -> Numbers | None:
        """Those of two layers together; None if they disagree for a role that both have."""
        if (self.lr, self.fields) != (other.lr, other.fields):
            return None
        for name, numbers in self.per_role.items():
            if any(numbers.get(role, number) != number for role, number in other.per_role[name].items()):
                return None
        return Numbers(self.lr, {name: {**it, **other.per_role[name]} for name, it in self.per_role.items()}, self.fields)


class _Entry:
    """A layer in an optimiser: whose parameters are in which group, and what steps keep of them."""

    def __init__(self, layer: Layer, groups: Mapping[int, dict[str, Any]]) -> None:
        self.layer = layer
        self.roles = [role for _, _, role, _, _ in layer.shape.parameters]
        self.moved = [
            (role, groups.get(id(array)))
            for role, array in zip(self.roles, layer.arrays(), strict=True)
            if is_moved(role)
        ]
        first = layer.arrays()[0]
        if first.dtype not in (torch.float32, torch.float64) or not first.is_cpu:
            raise TypeError(
                f"the layer {layer.shape} is of {first.dtype} on {first.device}: expected float32 or float64 on the CPU; "
                "torch.optim steps others, and torch.clamp_(0) keeps the signs of their weights"
            )
        self.state = _core.State(layer.shape, str(first.dtype).removeprefix("torch."))  # type: ignore[arg-type]
        self._made: dict[tuple[str, ...], _core.Update] = {}

    def take_in(self, kept: dict[Tensor, dict[str, Any]]) -> None:
        """Takes what PyTorch's state keeps of the layer's parameters, as it was loaded or copied."""
        arrays = self.layer.arrays()
        states = [kept.pop(array, {}) for array in arrays]
        for theirs in dict.fromkeys(name for state in states for name in state):
            self.state.set(arrays, _KEPT.get(theirs, theirs), [state.get(theirs) for state in states])

    def forget_update(self) -> None:
        """Makes the update anew when it is asked for: numbers of the groups have changed."""
        self._made.clear()

    def update(self, optimizer: LayerOptimizer, missing: tuple[str, ...] = ()) -> _core.Update:
        """The update of the groups' numbers. `missing` are roles without a gradient, which are left alone."""
        made = self._made.get(missing)
        if made is None:
            made = self._made[missing] = self.numbers(optimizer, missing).update()
        return made

    def parameters(self) -> tuple[Tensor, ...]:
        """The arrays of the layer that steps move."""
        return tuple(it for role, it in zip(self.roles, self.layer.arrays(), strict=True) if is_moved(role))

    def left_alone(self) -> list[bool]:
        """Of each array that steps move, whether this optimiser leaves it alone."""
        arrays = self.parameters()
        return [group is None or not it.requires_grad for (_, group), it in zip(self.moved, arrays, strict=True)]

    def check_roles(self) -> None:
        """Raises if an array is left alone, and another of the same role is not: fused and whole steps have one factor for
        both."""
        left = {role for (role, _), alone in zip(self.moved, self.left_alone(), strict=True) if alone}
        for (role, _), alone in zip(self.moved, self.left_alone(), strict=True):
            if role in left and not alone:
                raise ValueError(
                    f"one of the parameters of role {role!r} of the layer {self.layer.shape} is frozen and another is not, "
                    "in a fused or whole step: expected the same of both legs, or backward() and step() with fused=False"
                )

    def numbers(self, optimizer: LayerOptimizer, missing: Sequence[str] = ()) -> Numbers:
        """The numbers of the groups, by role."""
        arrays = self.parameters()
        groups = [group for _, group in self.moved if group is not None]
        lr = max(float(group["lr"]) for group in groups)
        factors: dict[str, float] = {}
        per_role: dict[str, dict[str, float]] = {name: {} for name in optimizer.per_role}
        alone = self.left_alone()
        trained = {role for (role, _), left in zip(self.moved, alone, strict=True) if not left}
        for (role, group), left in zip(self.moved, alone, strict=True):
            if left and role in trained:
                # Of both legs of a recurrent layer, the one that is trained says the numbers.
                continue
            factor = 0.0
            if group is not None and not left and role not in missing:
                factor = float(group["lr"]) / lr if lr > 0 else 1.0
            said = {"lr": (factors, factor)}
            for name, field in optimizer.per_role.items():
                said[field] = (per_role[name], float(group[field]) if group is not None else 0.0)
            for field, (numbers, number) in said.items():
                if numbers.setdefault(role, number) != number:
                    raise ValueError(
                        f"{field} differs between two parameters of role {role!r} of the layer {self.layer.shape}: expected "
                        "the same for both legs of a recurrent layer"
                    )
        fields = [optimizer.fields(group) for group in groups]
        for other in fields[1:]:
            if other != fields[0]:
                changed = next(name for name in other if other[name] != fields[0][name])
                raise ValueError(
                    f"{changed} is {fields[0][changed]!r} and {other[changed]!r} for parameters of the layer "
                    f"{self.layer.shape}: expected the same for all parameters of a layer"
                )
        return Numbers(lr, {"factors": factors, **per_role}, fields[0])

    def step(self, optimizer: LayerOptimizer) -> None:
        """A step with the gradients that the parameters have."""
        arrays = list(self.layer.arrays())
        alone = iter(self.left_alone())
        gradients, stays = [], []
        for k, (role, array) in enumerate(zip(self.roles, arrays, strict=True)):
            if not is_moved(role):
                # The backward pass has taken in that of the batch: what this step makes of it is thrown away.
                arrays[k] = array.clone()
                gradients.append(array)
                continue
            left, gradient = next(alone), array.grad
            if left or gradient is None:
                stays.append(k)
            gradients.append(torch.zeros_like(array) if gradient is None else gradient)
        if len(stays) == len(self.moved):
            return
        moves = {role for k, role in enumerate(self.roles) if k not in stays}
        for k in stays:
            if self.roles[k] in moves:
                # The other leg takes a step with the factor of the role: that of this one is thrown away.
                arrays[k], gradients[k] = arrays[k].clone(), torch.zeros_like(arrays[k])
        missing = tuple(dict.fromkeys(self.roles[k] for k in stays if self.roles[k] not in moves))
        threads = torch.get_num_threads()
        update = self.update(optimizer, missing)
        _core.apply(self.layer.shape, arrays, gradients, self.state, update, threads)
        increment_version(arrays)


def _check_apart(layers: Sequence[Layer]) -> None:
    """Raises for a parameter of two layers, which would take a step in each of them."""
    spans = []
    for layer in layers:
        for name, array in layer._parameters.items():
            if array is not None and array.requires_grad:
                spans.append((array.data_ptr(), array.data_ptr() + array.nbytes, f"{name} of the layer {layer.shape}"))
    spans.sort()
    for (_, end, one), (start, _, other) in zip(spans, spans[1:]):
        if start < end:
            raise ShapeError(f"{one} shares memory with {other}: expected arrays of their own, which take one step each")


class Fused:
    """How a layer's backward pass takes the step of its optimiser. Copies and pickles of the layer do not have it."""

    def __init__(self, optimizer: LayerOptimizer, entry: _Entry, local: bool) -> None:
        self._optimizer, self._entry, self._local = weakref.ref(optimizer), weakref.ref(entry), local
        self._parameters = entry.parameters()
        self.pending = False
        for (role, group), array in zip(entry.moved, self._parameters, strict=True):
            if group is None and array.requires_grad:
                raise ValueError(
                    f"{role} of the layer {entry.layer.shape} is in no group, with fused=True: expected all parameters of "
                    "the layer that require a gradient, since the backward pass hands none out"
                )

    def __deepcopy__(self, memo: Any) -> None:
        return None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(None), ()

    def is_pending_of(self, entry: _Entry) -> bool:
        """Whether a backward pass has taken the step of an optimiser's layer, which `step()` is to end."""
        return self.pending and self._entry() is entry

    def check(self, arrays: Sequence[Tensor]) -> None:
        """Raises if a layer computes with other arrays than those that the step would overwrite."""
        if not all(map(operator.is_, arrays, self._parameters)):
            raise RuntimeError(
                "a fused update of a layer that computes with other parameters than its optimiser has, as in functional "
                "calls and parametrisations: expected fused=False"
            )

    def _begin(self) -> tuple[_Entry, _core.Update]:
        """The layer and the update of a step, if one can be taken."""
        optimizer, entry = self._optimizer(), self._entry()
        if optimizer is None or entry is None:
            raise RuntimeError("the optimiser of a fused update is gone: expected that it lives as long as training")
        if self.pending:
            raise RuntimeError(
                "a second backward pass before step(), with fused=True: gradients cannot be accumulated, since they are "
                "spent in the update. Expected optimizer.step() after each backward pass, or fused=False"
            )
        check_not_distributed(self._local)
        optimizer.refresh()
        return entry, entry.update(optimizer)

    def backward(
        self, kept: _core.Kept, dh: Tensor, x: Tensor, statistics: tuple[Tensor, ...], needs_x: bool
    ) -> Tensor | None:
        """Overwrites parameters and statistics; returns `dx` if it is needed."""
        entry, update = self._begin()
        # Not what the graph has saved: hooks may have made copies of it.
        params = self._parameters + statistics
        dx = _core.update(kept, dh, x, params, entry.state, update, torch.get_num_threads(), needs_x)
        increment_version(params)
        self.pending = True
        return dx

    def backward_through_time(
        self, kept: _core.Kept, dh: Tensor, x: _core.Sequences, constants: tuple[Tensor, ...], needs_x: bool
    ) -> tuple[Tensor | None, Tensor]:
        """The same of a recurrent layer: returns `dx` if it is needed, and the gradient by the first states."""
        entry, update = self._begin()
        entry.check_roles()
        params = self._parameters + constants
        threads = torch.get_num_threads()
        dx, dstates = _core.update_through_time(kept, dh, x, params, entry.state, update, threads, needs_x)
        increment_version(self._parameters)
        self.pending = True
        return dx, dstates


class LayerOptimizer(torch.optim.Optimizer):
    """What the optimisers of this package share: a step for each layer, by an update of the Rust crate.

    `params` are a module, or parameters, or groups of parameters, as for every optimiser of PyTorch. Parameters of a layer
    may be in several groups, with learning rates, momenta and weight decays of their own. A parameter that requires no
    gradient, or is in no group, is left alone.
    """

    # The fields of an update that there are for each role, by the key that groups have for them.
    per_role: Mapping[str, str] = {"decay": "weight_decay"}
    # Whether parameters of other modules take an ordinary step of gradient descent.
    takes_others = False

    def __init__(self, params: Any, defaults: dict[str, Any], *, fused: bool = False, local: bool = False) -> None:
        if isinstance(params, nn.Module):
            params = params.parameters()
        self._entries_: list[_Entry] | None = None
        self._fused_wanted, self._local = fused, local
        self._train_state = _core.TrainState()
        self._snapshot: Any = None
        # What `train_step` runs, by its layers.
        self._whole: dict[Any, Any] = {}
        self._is_fresh = False
        self._is_whole = False
        super().__init__(params, defaults)
        self._is_whole = True
        if fused:
            check_not_distributed(local)
        self._check()

    def _check(self) -> None:
        """Raises for parameters and numbers that cannot be used, so that the first step need not."""
        others = self._others()
        if others and not self.takes_others:
            raise ValueError(
                f"params has {len(others)} parameters of other modules: expected those of layers of interneuron.torch alone; "
                f"{type(self).__name__} has no step for others, for which there is torch.optim"
            )
        for entry in self._entries:
            dtype = str(entry.layer.arrays()[0].dtype).removeprefix("torch.")
            _core.check_update(entry.update(self), dtype)  # type: ignore[arg-type]
        for _, group in others:
            per_role = {name: {"Wex": float(group[field])} for name, field in self.per_role.items()}
            Numbers(float(group["lr"]), per_role, self.fields(group)).update()

    def fields(self, group: dict[str, Any]) -> dict[str, Any]:
        """The fields of the update that a group says, but those of each role."""
        raise NotImplementedError

    @property
    def _entries(self) -> list[_Entry]:
        if self._entries_ is None:
            groups = {id(it): group for group in self.param_groups for it in group["params"]}
            parameters = [it for group in self.param_groups for it in group["params"]]
            found = layers_of(parameters)
            if not found:
                raise ValueError(
                    "params has no parameter of a layer of interneuron.torch: expected some, of layers that live; for "
                    "others there is torch.optim"
                )
            entries = [_Entry(layer, groups) for layer in found]
            _check_apart(found)
            self._entries_ = entries
            for entry in entries:
                entry.take_in(self.state)
                # The last optimiser of a layer says when its steps are taken.
                entry.layer._fused = Fused(self, entry, self._local) if self._fused_wanted else None
        return self._entries_

    def refresh(self) -> None:
        """Once in each step, looks whether numbers of the groups have changed, or which parameters require a gradient."""
        if self._is_fresh:
            return
        self._is_fresh = True
        # Schedulers overwrite a learning rate that is a tensor.
        numbers = [
            [float(it) if isinstance(it, Tensor) else it for key, it in group.items() if key != "params"]
            for group in self.param_groups
        ]
        flags = [it.requires_grad for group in self.param_groups for it in group["params"]]
        if self._snapshot != (numbers, flags):
            self._snapshot = (numbers, flags)
            self._whole.clear()
            for entry in self._entries:
                entry.forget_update()

    def _others(self) -> list[tuple[Tensor, dict[str, Any]]]:
        known = {id(array) for entry in self._entries for array in entry.layer.arrays()}
        return [(it, group) for group in self.param_groups for it in group["params"] if id(it) not in known]

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds a group, as for every optimiser. What steps keep of the layers stays."""
        # Entries keep their layers alive, of which somebody may have the parameters alone.
        before = {id(entry.layer): entry for entry in (self._entries if self._is_whole else ())}
        super().add_param_group(param_group)
        self._entries_, self._snapshot, self._is_fresh = None, None, False
        if not self._is_whole:
            # They are checked together.
            return
        try:
            self._check()
        except Exception:
            self.param_groups.pop()
            self._entries_ = None
            raise
        finally:
            for entry in self._entries:
                entry.state = before.get(id(entry.layer), entry).state

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """A step of each layer. A `closure` runs first, as for every optimiser."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.refresh()
        self._is_fresh = False
        for entry in self._entries:
            fused = entry.layer._fused
            if fused is not None and fused.is_pending_of(entry):
                fused.pending = False
            else:
                # Also with fused=True if the layer was in evaluation, where gradients are handed out.
                entry.step(self)
        for parameter, group in self._others():
            if parameter.grad is not None:
                self._step_of_other(parameter, group)
        return loss

    def _step_of_other(self, parameter: Tensor, group: dict[str, Any]) -> None:
        """Gradient descent with momentum, as torch.optim.SGD has it."""
        gradient, momentum = parameter.grad, group.get("momentum", 0.0)
        assert gradient is not None
        if group["weight_decay"]:
            gradient = gradient.add(parameter, alpha=group["weight_decay"])
        if momentum:
            state = self.state[parameter]
            if "momentum_buffer" in state:
                state["momentum_buffer"].mul_(momentum).add_(gradient, alpha=1 - group["dampening"])
            else:
                state["momentum_buffer"] = gradient.clone()
            velocity = state["momentum_buffer"]
            gradient = gradient.add(velocity, alpha=momentum) if group.get("nesterov") else velocity
        parameter.add_(gradient, alpha=-float(group["lr"]))

    def kept(self) -> dict[Tensor, dict[str, Tensor]]:
        """Copies of what steps keep of each parameter, by the names of PyTorch where it has one."""
        kept: dict[Tensor, dict[str, Tensor]] = {}
        for entry in self._entries:
            arrays = entry.layer.arrays()
            for name in entry.state.names():
                copies = entry.state.get(name, like=arrays[0]) or ()
                for array, copy in zip(arrays, copies, strict=True):
                    if copy is not None:
                        kept.setdefault(array, {})[_NAMES.get(name, name)] = copy
        return kept

    def state_dict(self) -> dict[str, Any]:
        """As for every optimiser; what steps keep is copied."""
        result = super().state_dict()
        result["train_state"] = self._train_state.lines()
        places = {id(it): k for k, it in enumerate(it for group in self.param_groups for it in group["params"])}
        for array, arrays in self.kept().items():
            if id(array) in places:
                result["state"].setdefault(places[id(array)], {}).update(arrays)
        return result

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As for every optimiser."""
        before = self._entries
        super().load_state_dict(state_dict)
        if "train_state" in state_dict:
            self._train_state = _core.TrainState.of_lines(*state_dict["train_state"])
        # The groups are others now, and the layers look them up there.
        self._entries_, self._snapshot, self._is_fresh = None, None, False
        self._check()
        # Until here they kept their layers alive, of which somebody may have the parameters alone.
        del before

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        state["kept"] = [(array, kept) for array, kept in self.kept().items()]
        state["wanted"] = (self._fused_wanted, self._local)
        state["train_state"] = self._train_state
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        kept = state.pop("kept", None)
        wanted, train_state = state.pop("wanted", None), state.pop("train_state", None)
        super().__setstate__(state)
        if kept is None:
            # From `load_state_dict`, which goes on by itself.
            return
        self._fused_wanted, self._local = wanted or (False, False)
        self._is_whole = True
        self._entries_, self._whole, self._train_state = None, {}, train_state or _core.TrainState()
        self._snapshot, self._is_fresh = None, False
        # The layers that they are of may come later in the same copy, so the first step looks for them.
        for array, arrays in kept:
            self.state[array].update(arrays)


class CSGD(LayerOptimizer):
    """Projected gradient descent, with the corrections from the Fisher information: `dWix/√ne`, `dWei/d`,
    `dalpha/(√ne·d)`. Weights and gains stay ≥ 0. Source: Cornford et al., ICLR 2021.

    Parameters of other modules take a step of ordinary gradient descent with the same numbers, and are not bounded.

    Args:
        params: a module, parameters, or groups of parameters.
        lr: learning rate.
        corrections: False for projected gradient descent without them.
        momentum, dampening, nesterov, weight_decay: as in torch.optim.SGD.
        clip: the largest norm of a layer's gradients together, after the corrections. Those of frozen parameters count in
            fused and whole steps, as in the Rust crate; after `backward()` there are none.
        angle: (lr_min, rates, cosine_epsilon): the largest of so many learning rates from `lr` down to `lr_min` whose step
            the bound turns by a cosine above 1 − cosine_epsilon.
        floor: no weight crosses zero, also of ordinary layers, and none has a magnitude below it; None does not do that.
        fused: the backward pass takes the step, and no gradient of a weight is ever stored; `step()` still has to follow.
            Not under DistributedDataParallel, `torch.compile`, or with accumulated gradients: these are errors.
        local: with `fused` or `train_step` in a process group: each process steps on its own, and
            `average_parameters` is called every some steps.
    """

    per_role = {"decay": "weight_decay", "momentum": "momentum"}
    takes_others = True

    def __init__(
        self,
        params: Any,
        lr: float,
        *,
        corrections: bool = True,
        momentum: float = 0.0,
        dampening: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        clip: float | None = None,
        angle: tuple[float, int, float] | None = None,
        floor: float | None = None,
        fused: bool = False,
        local: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "corrections": corrections,
            "momentum": momentum,
            "dampening": dampening,
            "nesterov": nesterov,
            "weight_decay": weight_decay,
            "clip": clip,
            "angle": angle,
            "floor": floor,
        }
        super().__init__(params, defaults, fused=fused, local=local)

    def fields(self, group: dict[str, Any]) -> dict[str, Any]:
        return {name: group[name] for name in ("corrections", "dampening", "nesterov", "clip", "angle", "floor")}


class AdamW(LayerOptimizer):
    """AdamW, projected: weights and gains stay ≥ 0. `weight_decay` is decoupled unless `decoupled` is False, which is
    "Adam". With `corrections` the quotient of the moments is corrected. With `split` it is `AdamWEG`."""

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        *,
        amsgrad: bool = False,
        corrections: bool = False,
        decoupled: bool = True,
        clip: float | None = None,
        floor: float | None = None,
        split: float | None = None,
        fused: bool = False,
        local: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "corrections": corrections,
            "decoupled": decoupled,
            "clip": clip,
            "floor": floor,
            "split": split,
        }
        super().__init__(params, defaults, fused=fused, local=local)

    def fields(self, group: dict[str, Any]) -> dict[str, Any]:
        return {
            "adam": (*group["betas"], group["eps"], group["amsgrad"]),
            "decay_order": "decoupled" if group["decoupled"] else "before_momentum",
            "corrections": group["corrections"],
            "clip": group["clip"],
            "floor": group["floor"],
            "exponentiated": group["split"],
        }


class EG(LayerOptimizer):
    """Exponentiated gradient: `p ← p exp(−lr sign(p) dp)`. Parameters keep their signs. A bias is the difference of two
    positive parts, which both begin `split` above it. Source: Cornford et al., "Brain-like learning with exponentiated
    gradients", 2024."""

    per_role = {"decay": "weight_decay", "momentum": "momentum"}

    def __init__(
        self,
        params: Any,
        lr: float,
        *,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        split: float = 0.1,
        corrections: bool = False,
        clip: float | None = None,
        kept_sums: str | None = None,
        fused: bool = False,
        local: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "split": split,
            "corrections": corrections,
            "clip": clip,
            "kept_sums": kept_sums,
        }
        super().__init__(params, defaults, fused=fused, local=local)

    def fields(self, group: dict[str, Any]) -> dict[str, Any]:
        same = {name: group[name] for name in ("corrections", "clip", "kept_sums")}
        return {"exponentiated": group["split"], **same}


class AdamWEG(AdamW):
    """Exponentiated steps along the direction of AdamW. `split` is that of `EG`."""

    def __init__(self, params: Any, lr: float = 1e-3, *args: Any, split: float = 0.1, **keywords: Any) -> None:
        super().__init__(params, lr, *args, split=split, **keywords)


class NaturalGradient(LayerOptimizer):
    """Diagonal natural gradient. It draws labels from the network's own outputs, so it is for `train_step` alone."""

    def __init__(
        self,
        params: Any,
        lr: float,
        *,
        c: float = 0.02,
        f_lambda: float = 2.5e-5,
        eps: float = 1e-8,
        normalised: bool = True,
        weight_decay: float = 0.0,
        seed: int = 0,
        local: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "c": c,
            "f_lambda": f_lambda,
            "eps": eps,
            "normalised": normalised,
            "weight_decay": weight_decay,
        }
        super().__init__(params, defaults, local=local)
        self._train_state = _core.TrainState(seed)

    def fields(self, group: dict[str, Any]) -> dict[str, Any]:
        return {"natural": (group["c"], group["f_lambda"], group["eps"], group["normalised"])}

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Refused: gradients alone are not enough."""
        raise RuntimeError("a natural gradient draws labels from the outputs: expected interneuron.torch.train_step")


def param_groups(module: nn.Module, **overrides: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One group for each role in a module, such as `param_groups(model, Wei={"lr": 0.01}, b={"weight_decay": 0.0})`."""
    groups: dict[str, list[Tensor]] = {}
    for layer in module.modules():
        if isinstance(layer, Layer):
            for (_, _, role, _, _), array in zip(layer.shape.parameters, layer.arrays(), strict=True):
                if is_moved(role):
                    groups.setdefault(role, []).append(array)
    for role in overrides:
        if role not in groups:
            raise ValueError(f"the module has no parameters of the role {role!r}: expected some of {list(groups)}")
    return [{"params": arrays, "role": role, **overrides.get(role, {})} for role, arrays in groups.items()]


def average_parameters(module: nn.Module, group: Any = None) -> None:
    """Overwrites the parameters and buffers of floating point with their mean over the processes of a group. Means of
    weights ≥ 0 are ≥ 0.

    PyTorch's own averagers (`PeriodicModelAverager`) leave out parameters without a gradient, which a fused update and
    :func:`train_step` never store: expected this function there."""
    dist = torch.distributed
    world = dist.get_world_size(group)
    arrays = [it for it in [*module.parameters(), *module.buffers()] if it.is_floating_point()]
    with torch.no_grad():
        for dtype in dict.fromkeys(it.dtype for it in arrays):
            some = [it for it in arrays if it.dtype == dtype]
            flat = torch.cat([it.reshape(-1) for it in some])
            dist.all_reduce(flat, group=group)
            flat /= world
            means = torch.split(flat, [it.numel() for it in some])
            for it, mean in zip(some, means, strict=True):
                it.copy_(mean.view_as(it))
