"""Update rules and learning rates: how a step changes the parameters, and how fast."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, TypedDict, Unpack

from . import _check
from ._core import Update
from .errors import InvalidValue

__all__ = ["Options", "Schedule", "Update", "adam", "adamw", "adamw_eg", "csgd", "eg", "natural", "sgd"]

PerRole: TypeAlias = float | Mapping[str, float]
"""A number for all parameters, or numbers by their roles: `Wex` (also `W` and `Wpos`), `Wix`, `Wei`, `alpha`,
`g`, `b`, `h0`; of a recurrent layer those of both legs. Roles that are not named have 1 where it is a factor, else 0."""


class Options(TypedDict, total=False):
    """What every rule can have besides. In a step comes first what is first here, but for `decay`, whose
    place `decay_order` says.

    | name | meaning | default |
    |---|---|---|
    | `corrections` | divide gradients of `Wix` by √ne, of `Wei` by d, of `alpha` by √ne·d | as the rule |
    | `clip` | largest L2 norm of the gradients together, > 0 | none |
    | `clip_scope` | which together: those of a `"layer"`, an `"array"`, the `"network"` | `"layer"` |
    | `decay` | weight decay λ ≥ 0, a number or one by roles | as the rule |
    | `decay_order` | `"before_momentum"`, `"after_momentum"`, `"decoupled"` from steps | as the rule |
    | `momentum` | μ: v ← μ·v + d takes the place of the gradient d, 0 ≤ μ < 1, a number or one by roles | 0 |
    | `nesterov` | d + μ·v takes its place instead | False |
    | `dampening` | τ: v ← μ·v + (1−τ)·d, 0 to 1 | 0 |
    | `angle` | `(lr_min, rates, cosine_epsilon)`: a layer's rate, by what the bound leaves of a step | none |
    | `factors` | factors on the learning rate ≥ 0, a number or one by roles; 0 freezes | 1 |
    | `floor` | no weight crosses zero, and magnitudes are at least this | none |
    | `kept_sums` | weights keep the sum of their magnitudes: of an `"array"` or of each `"row"` | none |
    """

    corrections: bool
    clip: float | None
    clip_scope: Literal["layer", "array", "network"]
    decay: PerRole | None
    decay_order: Literal["before_momentum", "after_momentum", "decoupled"]
    momentum: PerRole | None
    nesterov: bool
    dampening: float
    angle: tuple[float, int, float] | None
    factors: PerRole | None
    floor: float | None
    kept_sums: Literal["array", "row"] | None


def sgd(lr: float, **options: Unpack[Options]) -> Update:
    """Projected gradient descent without corrections: θ ← θ − lr·dθ, then max(θ, 0) where θ keeps its sign.

    Parameters that keep their sign are `Wex`, `Wix`, `Wei` and `g` of layers with interneurons, and `Wpos`.

    Raises `InvalidValue` for a number that cannot be used.
    """
    return Update(lr, **options)


def csgd(lr: float, **options: Unpack[Options]) -> Update:
    """`sgd` with corrections: dWix/√ne, dWei/d, dalpha/(√ne·d). (Cornford et al., ICLR 2021, section 4.)"""
    return Update(lr, **_over({"corrections": True}, options))


def adam(
    lr: float,
    *,
    betas: tuple[float, float] = (0.9, 0.999),
    epsilon: float = 1e-8,
    amsgrad: bool = False,
    **options: Unpack[Options],
) -> Update:
    """Adam without weight decay, projected: m ← β₁m + (1−β₁)d, v ← β₂v + (1−β₂)d², θ ← θ − lr·(m/(1−β₁ᵗ)) /
    (√(v/(1−β₂ᵗ)) + ε). Corrections, if any, scale the step instead of the gradient."""
    return Update(lr, adam=(*betas, epsilon, amsgrad), **options)


def adamw(
    lr: float,
    *,
    betas: tuple[float, float] = (0.9, 0.999),
    epsilon: float = 1e-8,
    amsgrad: bool = False,
    **options: Unpack[Options],
) -> Update:
    """AdamW, projected: `adam` with a decoupled weight decay of 0.01 of all parameters."""
    return adam(lr, betas=betas, epsilon=epsilon, amsgrad=amsgrad, **_over(_ADAMW, options))


def eg(lr: float, *, split: float = 0.1, **options: Unpack[Options]) -> Update:
    """Exponentiated gradient: θ ← θ·exp(−lr·sign(θ)·dθ). A bias is the difference of two positive parts, at
    first max(±b, 0) + split. (Cornford et al., "Brain-like learning with exponentiated gradients", 2024.)"""
    return Update(lr, exponentiated=split, **options)


def adamw_eg(
    lr: float,
    *,
    split: float = 0.1,
    betas: tuple[float, float] = (0.9, 0.999),
    epsilon: float = 1e-8,
    amsgrad: bool = False,
    **options: Unpack[Options],
) -> Update:
    """Exponentiated steps along the direction of `adamw`, with its decoupled weight decay of 0.01."""
    return Update(lr, exponentiated=split, adam=(*betas, epsilon, amsgrad), **_over(_ADAMW, options))


def natural(
    lr: float,
    *,
    c: float = 0.02,
    f_lambda: float = 2.5e-5,
    epsilon: float = 1e-8,
    normalised: bool = True,
    **options: Unpack[Options],
) -> Update:
    """Diagonal natural gradient: F ← (1−c)·F + c·f_lambda·mean (∂ℓ/∂θ)², of labels that the network itself
    draws; the step takes dθ/(F + ε). `normalised`: 1/(F + ε) is divided by its L2 norm over `Wex`. For
    `Network.train_step` only."""
    return Update(lr, natural=(c, f_lambda, epsilon, normalised), **options)


_ADAMW: Options = {"decay": 0.01, "decay_order": "decoupled"}


def _over(rule: Options, options: Options) -> Options:
    """What the caller says, over what the rule has."""
    both: Options = {**rule, **options}
    return both


@dataclass(frozen=True, slots=True)
class Schedule:
    """A learning rate for each step of a run: a value, made by `constant`, `steps`, `linear` or `cosine`.

    In step n = 1, 2, … it is, with the peak η, W steps of warm-up, N steps in all, the last D of which decay
    to η_min,

        η · n/W                      for n ≤ W
        η                            for n ≤ N − D
        η_min + (η − η_min) · k      for n ≤ N:  ρ = (n−1−(N−D)) / D,
                                     k = 1 − ρ (linear) or (1 + cos πρ)/2 (cosine)
        η_min                        after that

    A constant rate has no decay, and one in steps is η·factor^⌊(n−1−W)/every⌋ after the warm-up.

    With `Network.steps` steps taken so far, the next is that number and 1.
    """

    peak: float
    course: Literal["constant", "steps", "linear", "cosine"]
    warmup_steps: int = 0
    every: int | None = None
    factor: float | None = None
    total: int | None = None
    decay_steps: int | None = None
    lowest: float = 0.0

    def __post_init__(self) -> None:
        _check.number("lr", self.peak, 0.0)
        _check.name("course", self.course, ("constant", "steps", "linear", "cosine"))
        _check.whole("warmup", self.warmup_steps, 0)
        if self.course == "steps":
            _check.whole("every", self.every, 1)
            _check.number("factor", self.factor, 0.0, 1.0)
        elif self.course != "constant":
            total = _check.whole("total", self.total, 1)
            decay = 0 if self.decay_steps is None else _check.whole("decay", self.decay_steps, 0)
            if self.warmup_steps + decay > total:
                raise InvalidValue(
                    f"total is {total}: expected so much that warm-up and decay are at most all steps "
                    "together"
                )
            if not 0 <= self.lowest <= self.peak:
                raise InvalidValue(
                    f"lowest is {self.lowest!r}: expected at least 0 and at most the largest rate, "
                    f"{self.peak!r}"
                )

    @classmethod
    def constant(cls, lr: float) -> "Schedule":
        """The same rate in all steps. Raises `InvalidValue` unless `lr` is finite and ≥ 0, as all of
        these."""
        return cls(lr, "constant")

    @classmethod
    def steps(cls, lr: float, every: int, factor: float) -> "Schedule":
        """A rate that is multiplied by `factor`, from 0 to 1, after `every` so many steps, at least 1."""
        return cls(lr, "steps", every=every, factor=factor)

    @classmethod
    def linear(cls, lr: float, total: int) -> "Schedule":
        """A rate that falls in a straight line to 0, after `total` steps."""
        return cls(lr, "linear", total=total)

    @classmethod
    def cosine(cls, lr: float, total: int) -> "Schedule":
        """A rate that falls along half a cosine to 0, after `total` steps."""
        return cls(lr, "cosine", total=total)

    def warmup(self, steps: int) -> "Schedule":
        """The same with a first part of `steps` steps in which the rate grows in a straight line: η/W in the
        first, η in the last. Raises `InvalidValue` if warm-up and decay are more than all steps together."""
        return replace(self, warmup_steps=steps)

    def decay(self, steps: int) -> "Schedule":
        """The same with a decay in the last `steps` steps only. Raises `InvalidValue` as `warmup`, and for a
        schedule that is neither linear nor cosine."""
        self._check_decays()
        return replace(self, decay_steps=steps)

    def down_to(self, lowest: float) -> "Schedule":
        """The same with a decay to `lowest` instead of 0. Raises `InvalidValue` unless it is at least 0 and
        at most the largest rate, and for a schedule that is neither linear nor cosine."""
        self._check_decays()
        return replace(self, lowest=lowest)

    def _check_decays(self) -> None:
        if self.course not in ("linear", "cosine"):
            raise InvalidValue(
                f"the schedule is {self.course}, which has no decay: expected linear or cosine"
            )

    def rate(self, n: int) -> float:
        """The rate of step `n`, counted from 1. Raises `InvalidValue` for one below."""
        n = _check.whole("n", n, 1)
        peak, warmup = float(self.peak), self.warmup_steps
        if n <= warmup:
            return peak * n / warmup
        if self.course == "constant":
            return peak
        if self.course == "steps":
            assert self.every is not None and self.factor is not None
            return peak * math.pow(self.factor, max(n - 1 - warmup, 0) // self.every)
        assert self.total is not None
        if n > self.total:
            return float(self.lowest)
        decay = self.total - warmup if self.decay_steps is None else self.decay_steps
        before = self.total - decay
        if n <= before:
            return peak
        part = (n - 1 - before) / decay
        k = 1 - part if self.course == "linear" else (1 + math.cos(math.pi * part)) / 2
        return self.lowest + (peak - self.lowest) * k
