"""One layer on arrays of the caller's."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from . import _check, _core
from ._core import Kept, Sequences, Shape, State, Update
from ._threads import get_num_threads
from .network import Scheme, dtype_name

Floats: TypeAlias = npt.NDArray[Any]


class Layer:
    """The passes through a layer of a shape. It has no numbers of its own: `params` are the caller's arrays,
    in the order of `names`, all of float32 or all of float64. With interneurons (`Shape.dann`)

        zE = x Wexᵀ                        excitation                      x [B, d], Wex [ne, d]
        zI = x Wixᵀ                        activity of the interneurons    Wix [ni, d]
        s  = zI Weiᵀ                       subtractive inhibition          Wei [ne, ni]
        γ  = (exp(alpha) ⊙ zI) Weiᵀ + ε    divisive inhibition             alpha [ni], ε = 1e-8
        h  = f(g ⊙ (zE − s) / γ + b)       output                          g [ne] ≥ 0, b [ne]

    with f = ReLU or the identity; where it only subtracts, h = f(zE − s + b). Others are h = f(x Wᵀ + b),
    with columns Wpos ⊙ sign for W, or with normalisation of x Wᵀ.

    A recurrent layer (`Shape.recurrent_dann`, which has the equations) goes from `x [T, B, d]`, or
    `Sequences`, to the states of all steps, `h [T, B, visible]`. The methods that end in `_through_time` also
    return in which states sequences ended, and the gradient by those in which they began.

    Inputs may be read-only; they are copied where rows cannot be read as they lie. What is written must be
    row-major and overlap nothing else. Errors: `ShapeError`, `InvalidValue`, `TypeError` for element types.
    Unlike a step of a `Network`, a layer does not refuse divisors below ε: `kept.low_divisors()` counts them.
    """

    def __init__(self, shape: Shape):
        if not isinstance(shape, Shape):
            raise TypeError(f"shape is {type(shape)}: expected a Shape, such as Shape.dann(784, 500, 50)")
        self.shape = shape

    def __repr__(self) -> str:
        return f"Layer({self.shape!r})"

    @property
    def names(self) -> list[str]:
        """The names of the parameters, in their order."""
        return [name for name, *_ in self.shape.parameters]

    def draw(
        self,
        seed: int = 0,
        *,
        dtype: npt.DTypeLike = "float32",
        rectified: bool = True,
        scheme: Scheme = "matched",
        mean_input: float = 0.0,
        radius: float | None = None,
        few_inputs: bool = False,
    ) -> list[Floats]:
        """New parameters from a seed. `rectified`: inputs are outputs of a ReLU, as in all layers of a
        network but the first. `scheme`, `mean_input`, `radius` and `few_inputs` as in `Network.of`."""
        params = [np.empty(size, dtype_name(dtype)) for _, size, *_ in self.shape.parameters]
        _core.draw_layer(
            self.shape,
            params,
            _check.seed(seed),
            rectified=rectified,
            scheme=scheme,
            mean_input=mean_input,
            radius=radius,
            few_inputs=few_inputs,
        )
        return params

    def state(self, dtype: npt.DTypeLike = "float32") -> State:
        """What steps keep of such a layer: nothing yet."""
        return State(self.shape, dtype_name(dtype))

    def forward(self, params: Sequence[Floats], x: Floats | Sequences) -> tuple[Floats, Kept]:
        """`h [..., ne]` of `x [..., d]`, and what a backward pass needs. Any number of passes may be
        outstanding."""
        h, kept = _core.forward(self.shape, x, params, get_num_threads(), True)
        assert kept is not None
        return h, kept

    def infer(self, params: Sequence[Floats], x: Floats | Sequences) -> Floats:
        """`h [..., ne]` of `x [..., d]` alone; batch normalisation takes its running statistics."""
        h: Floats = _core.forward(self.shape, x, params, get_num_threads(), False)[0]
        return h

    def backward(
        self,
        params: Sequence[Floats],
        kept: Kept,
        x: Floats | Sequences,
        dh: Floats,
        *,
        needs_x: bool = True,
        needs_params: bool = True,
    ) -> tuple[Floats | None, tuple[Floats, ...] | None]:
        """`dx [..., d]` and the gradients of all parameters from `dh [..., ne]`, the gradient of the loss by
        h; None for what is not needed. `params` and `x` must be those of the forward pass that left `kept`.

            dz = dh ⊙ f'          db = Σ dz            dg = Σ dz ⊙ ẑ,  ẑ = (zE − s)/γ
            du = dz ⊙ g / γ       dγ = −du ⊙ ẑ         dzI = −du Wei + exp(alpha) ⊙ (dγ Wei)
            dWex = duᵀ x          dWix = dzIᵀ x        dWei = −duᵀ zI + dγᵀ (exp(alpha) ⊙ zI)
            dx = du Wex + dzI Wix                      dalpha = Σ exp(alpha) ⊙ zI ⊙ (dγ Wei)
        """
        return _core.backward(kept, dh, x, params, get_num_threads(), needs_x, needs_params)

    def update(
        self,
        params: Sequence[Floats],
        kept: Kept,
        x: Floats | Sequences,
        dh: Floats,
        state: State,
        update: Update,
        *,
        needs_x: bool = True,
    ) -> Floats | None:
        """The fused step: the backward pass overwrites `params`, and what `state` keeps of them. Returns
        `dx`, of the parameters before, if it is needed. The bits of `backward` and then `apply`."""
        dx: Floats | None = _core.update(kept, dh, x, params, state, update, get_num_threads(), needs_x)
        return dx

    def forward_through_time(
        self, params: Sequence[Floats], x: Floats | Sequences, *, keep: bool = True
    ) -> tuple[Floats, Floats, Kept | None]:
        """`h [T, B, visible]` of `x [T, B, d]`, the states `[B, ne]` in which the sequences ended (h_T, or v_T
        in the state form), and what a backward pass needs if it is to be kept."""
        return _core.forward_through_time(self.shape, x, params, get_num_threads(), keep)

    def backward_through_time(
        self,
        params: Sequence[Floats],
        kept: Kept,
        x: Floats | Sequences,
        dh: Floats,
        *,
        needs_x: bool = True,
        needs_params: bool = True,
    ) -> tuple[Floats | None, Floats, tuple[Floats, ...] | None]:
        """As `backward`: `dx [T, B, d]`, the gradient `[B, ne]` by the states before the first step, one an
        example, and the gradients of all parameters, from `dh [T, B, visible]`. That by states is zero where
        the sequences began in an h0 of zeros that is not learned."""
        return _core.backward_through_time(kept, dh, x, params, get_num_threads(), needs_x, needs_params)

    def update_through_time(
        self,
        params: Sequence[Floats],
        kept: Kept,
        x: Floats | Sequences,
        dh: Floats,
        state: State,
        update: Update,
        *,
        needs_x: bool = True,
    ) -> tuple[Floats | None, Floats]:
        """As `update`: returns `dx` if it is needed, and the gradient by the states before the first step."""
        return _core.update_through_time(kept, dh, x, params, state, update, get_num_threads(), needs_x)

    def apply(
        self, params: Sequence[Floats], gradients: Sequence[Floats], state: State, update: Update
    ) -> None:
        """A step with gradients that were handed out: overwrites `params`, and what `state` keeps of them."""
        _core.apply(self.shape, params, gradients, state, update, get_num_threads())
