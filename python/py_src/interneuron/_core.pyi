"""The extension module: checks, views of arrays, and the kernels.

An array is anything with the buffer protocol (NumPy) or a tensor of PyTorch on the CPU, of float32 or float64. Nothing is
copied where the last index is contiguous and rows do not overlap; inputs that are laid out otherwise are copied, outputs
are refused. New arrays are of the same kind as `x`. `threads` is how many threads compute; it never changes a bit.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self, final

from typing_extensions import disjoint_base

Array = Any
Dtype = Literal["float32", "float64"]
Divisor = Literal["plain", "root"] | float
Dynamics = Literal["plain", "rate", "state"]
Kappa = float | Literal["per_unit"]

__version__: str

@final
class Shape:
    """What a layer is: its kind and its numbers. A value: hashable, picklable, and never changed."""

    kind: Literal[
        "dann",
        "linear",
        "columns",
        "layer_norm",
        "batch_norm",
        "recurrent_dann",
        "recurrent_columns",
        "recurrent_plain",
    ]
    inputs: int
    outputs: int
    interneurons: int
    relu: bool
    divisive: bool
    divisor: Divisor | None
    inhibitory_inputs: int
    inhibitory_outputs: int
    recurrent_units: int
    """Units `ne` of a recurrent layer, of which the first `outputs` go out; 0 of other layers."""
    leg_interneurons: tuple[int, int]
    """Interneurons of the input leg and of the recurrent leg, `nu` and `nw`."""
    inhibitory_units: int
    """How many units, the last ones, of recurrent columns are inhibitory."""
    dynamics: Dynamics | None
    kappa: Kappa | None
    learned_state: bool
    no_self: bool
    signed: bool
    """Whether inhibitory units of recurrent columns go out with a negative sign."""
    @staticmethod
    def dann(d: int, ne: int, ni: int, *, relu: bool = True, divisor: Divisor | None = "plain") -> Shape:
        """With interneurons; `divisor` None: inhibition only subtracts."""
    @staticmethod
    def linear(d: int, ne: int, *, relu: bool = True) -> Shape: ...
    @staticmethod
    def columns(
        d: int, ne: int, *, inhibitory_inputs: int = 0, inhibitory_outputs: int = 0, relu: bool = True
    ) -> Shape: ...
    @staticmethod
    def layer_norm(d: int, ne: int, *, relu: bool = True) -> Shape: ...
    @staticmethod
    def batch_norm(d: int, ne: int, *, relu: bool = True) -> Shape: ...
    @staticmethod
    def recurrent_dann(
        d: int,
        ne: int,
        nu: int,
        nw: int,
        *,
        divisor: Divisor | None = None,
        dynamics: Dynamics = "plain",
        kappa: Kappa | None = None,
        learned_state: bool = False,
        visible: int | None = None,
    ) -> Shape:
        """A recurrent layer from `x [T, B, d]` to `h [T, B, visible]`, with `nu` interneurons of the inputs and `nw` of the
        states. With `v` for the inputs or the states of the step before, and `L` for `U` or `W`:

            E = v Lexᵀ      I = v Lixᵀ      A(v; L) = E − I Leiᵀ
            with a divisor  γ = (exp(Lalpha) ⊙ I) Leiᵀ + ε      A = Lg ⊙ (E − I Leiᵀ) / γ
            z_t = A(x_t; U) + A(h_{t−1}; W) + b + ξ_t
            plain   h_t = f(z_t)                                    f = ReLU
            rate    h_t = (1−κ) h_{t−1} + κ f(z_t)
            state   v_t = (1−κ) v_{t−1} + κ z_t,   h_t = f(v_t)     h0 is v_0 then

        `kappa` is a number above 0 and at most 1, or "per_unit": then it is an array of the layer, which training leaves
        alone. `learned_state`: `h0 [ne]` is learned; else it stays as it is, 0 at first. `visible`: how many of the units,
        the first ones, go out; all if None."""
    @staticmethod
    def recurrent_columns(
        d: int,
        ne: int,
        inhibitory_units: int,
        *,
        inhibitory_inputs: int = 0,
        dynamics: Dynamics = "plain",
        kappa: Kappa | None = None,
        learned_state: bool = False,
        no_self: bool = False,
        visible: int | None = None,
        signed: bool = True,
    ) -> Shape:
        """The same with `A(v; L) = v D Lposᵀ`: columns of one sign, that of the last `inhibitory_inputs` and
        `inhibitory_units` −1. Inputs bring their signs, as those of `columns` do, and so do states go out unless `signed` is
        False. `no_self`: the diagonal of `Wpos` is 0 and stays so."""
    @staticmethod
    def recurrent_plain(
        d: int,
        ne: int,
        *,
        dynamics: Dynamics = "plain",
        kappa: Kappa | None = None,
        learned_state: bool = False,
        no_self: bool = False,
        visible: int | None = None,
    ) -> Shape:
        """The same with `A(v; L) = v Lᵀ`, weights of any sign."""
    @staticmethod
    def parse(text: str) -> Shape:
        """The shape that `str(shape)` describes."""
    @property
    def parameters(self) -> list[tuple[str, tuple[int, ...], str, bool, float]]:
        """The arrays that such a layer has, in their order: name, dimensions, role, whether its elements may be negative,
        and what corrections multiply its gradient with. Roles are `Wex`, `Wix`, `Wei`, `alpha`, `g`, `b`, `h0`, `statistic`,
        `constant`; of a recurrent layer both legs' arrays have the same roles."""
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __reduce__(self) -> tuple[Any, ...]: ...

@final
class Update:
    """How a step changes the parameters: see the Rust crate's `Update`, whose fields and defaults these are. What is there
    for each parameter is a number for all, or a mapping from roles to numbers, with 1 (factors) or 0 for the others."""

    def __new__(
        cls,
        lr: float,
        *,
        corrections: bool = False,
        factors: float | Mapping[str, float] | None = None,
        exponentiated: float | None = None,
        decay: float | Mapping[str, float] | None = None,
        decay_order: Literal["before_momentum", "after_momentum", "decoupled"] = "before_momentum",
        momentum: float | Mapping[str, float] | None = None,
        nesterov: bool = False,
        dampening: float = 0.0,
        adam: tuple[float, float, float, bool] | None = None,
        floor: float | None = None,
        clip: float | None = None,
        clip_scope: Literal["layer", "array", "network"] = "layer",
        kept_sums: Literal["array", "row"] | None = None,
        angle: tuple[float, int, float] | None = None,
        natural: tuple[float, float, float, bool] | None = None,
    ) -> Update:
        """`exponentiated`: the split of biases. `adam`: beta1, beta2, epsilon, amsgrad. `angle`: lr_min, rates,
        cosine_epsilon. `natural`: c, f_lambda, epsilon, normalised."""
    lr: float
    def with_lr(self, lr: float) -> Self: ...
    def fields(self) -> dict[str, Any]:
        """The keywords that make it, all of them."""
    @staticmethod
    def of_fields(fields: dict[str, Any]) -> Update: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __reduce__(self) -> tuple[Any, ...]: ...

@final
class State:
    """What steps keep of one layer: velocities, moments, and so on, by the names of checkpoints."""

    def __new__(cls, shape: Shape, dtype: Dtype) -> Self: ...
    def names(self) -> list[str]: ...
    def get(self, name: str, like: Array | None = None) -> list[Array | None] | None:
        """Copies of the arrays under a name, one for each parameter, of NumPy or, with a tensor `like`, of PyTorch."""
    def set(self, params: Sequence[Array], name: str, arrays: Sequence[Array | None]) -> None: ...
    def clear(self) -> None: ...
    def copy(self) -> State: ...
    @property
    def shape(self) -> Shape: ...
    def __eq__(self, other: object, /) -> bool: ...

@final
class Kept:
    """What a forward pass keeps for its backward pass. Used up, it is made again by another forward pass."""

    def low_divisors(self) -> tuple[int, int, float | None] | None:
        """How many divisors were below their bound, of how many, and the smallest of them."""

@final
class Sequences:
    """Inputs in time `x [T, B, d]`, one step after the other, with what else a call takes. Whatever takes `x` of a
    recurrent layer, or of a network with one, takes such an object or the array alone.

    `noise [T, B, ne]` is the ξ of the equations, `states [B, ne]` where each example begins, in the place of `h0` (`v_0` in
    the state form). Each is one array if one layer is recurrent, or a mapping from the numbers of layers to arrays.
    `carried`: the sequences begin where those of the call before ended, with as many examples; no gradient goes further
    back. It is for networks, not for layers by themselves. Raises `InvalidValue` for `states` with `carried`.

    Sequences of unequal length are padded, and the padding has weight 0 in the target."""

    def __new__(
        cls,
        x: Array,
        *,
        noise: Array | Mapping[int, Array] | None = None,
        states: Array | Mapping[int, Array] | None = None,
        carried: bool = False,
    ) -> Self: ...
    @property
    def x(self) -> Array: ...
    @property
    def noise(self) -> Array | Mapping[int, Array] | None: ...
    @property
    def states(self) -> Array | Mapping[int, Array] | None: ...
    @property
    def carried(self) -> bool: ...

def forward(shape: Shape, x: Array | Sequences, params: Sequence[Array], threads: int, keep: bool) -> tuple[Array, Kept | None]:
    """`h [..., ne]` of `x [..., d]`, and what a backward pass needs if it is to be kept."""

def backward(
    kept: Kept,
    dh: Array,
    x: Array | Sequences,
    params: Sequence[Array],
    threads: int,
    needs_x: bool,
    needs_params: bool,
) -> tuple[Array | None, tuple[Array, ...] | None]:
    """`dx` and the gradients of all parameters, where they are needed. Those of statistics are the statistics of the
    batch."""

def update(
    kept: Kept,
    dh: Array,
    x: Array | Sequences,
    params: Sequence[Array],
    state: State,
    update: Update,
    threads: int,
    needs_x: bool,
) -> Array | None:
    """The fused step: overwrites `params`; returns `dx` (of the parameters before) if it is needed."""

def forward_through_time(
    shape: Shape, x: Array | Sequences, params: Sequence[Array], threads: int, keep: bool
) -> tuple[Array, Array, Kept | None]:
    """As `forward`, through a recurrent layer: `h [T, B, visible]`, the states `[B, ne]` in which the sequences end, and what
    is kept."""

def backward_through_time(
    kept: Kept,
    dh: Array,
    x: Array | Sequences,
    params: Sequence[Array],
    threads: int,
    needs_x: bool,
    needs_params: bool,
) -> tuple[Array | None, Array, tuple[Array, ...] | None]:
    """As `backward`: `dx`, the gradient by the states before the first step `[B, ne]`, and those of the parameters."""

def update_through_time(
    kept: Kept,
    dh: Array,
    x: Array | Sequences,
    params: Sequence[Array],
    state: State,
    update: Update,
    threads: int,
    needs_x: bool,
) -> tuple[Array | None, Array]:
    """As `update`: `dx` if it is needed, and the gradient by the states before the first step `[B, ne]`."""

def apply(
    shape: Shape, params: Sequence[Array], gradients: Sequence[Array], state: State, update: Update, threads: int
) -> None:
    """A step with gradients that were handed out: overwrites `params`, with the bits of the fused step."""

def check_update(update: Update, dtype: Dtype) -> None:
    """Checks that an update can be used for arrays of this type."""

def network(
    kind: Literal["dann", "mlp", "layer_norm", "batch_norm", "column_ei"],
    dims: Sequence[int],
    nis: Sequence[int] | None = None,
    *,
    divisor: Divisor | None = "plain",
    ratio: int = 10,
) -> list[Shape]:
    """The shapes of a network that the paper compares: ReLU in hidden layers, the identity in the last one. `nis` is for
    `dann` alone, `ratio` for `column_ei`."""

def draw_layer(
    shape: Shape,
    params: Sequence[Array],
    seed: int,
    *,
    rectified: bool,
    scheme: str | float | None = None,
    mean_input: float = 0.0,
    radius: float | None = None,
    few_inputs: bool = False,
) -> None:
    """Overwrites the parameters of one layer with those of a seed. `rectified`: its inputs are outputs of a ReLU. `radius`
    and `few_inputs` are for recurrent layers: the spectral radius of the recurrent weights, and whether input weights are
    drawn for a few inputs to many units, `Uex ~ Exp(1/√d)`."""

def draw(
    shapes: Sequence[Shape],
    params: Sequence[Sequence[Array]],
    seed: int,
    *,
    schemes: Sequence[str | float] | None = None,
    mean_input: float = 0.0,
    x: Array | None = None,
    radius: float | None = None,
    few_inputs: bool = False,
) -> None:
    """Overwrites the parameters of a network with those of a seed; the last two as in `draw_layer`. A scheme is `matched`, `independent`, `centred`, or
    the `k` of lognormal weights. With `x [B, d]` layers are drawn from the moments of their inputs."""

@final
class TrainState:
    """The steps of a network, and the generator of the labels that a natural gradient draws."""

    def __new__(cls, seed: int = 0) -> Self: ...
    steps: int
    def copy(self) -> TrainState: ...
    def lines(self) -> tuple[str, str, bool]:
        """What `of_lines` reads, for who keeps it as plain values."""
    @staticmethod
    def of_lines(single: str, double: str, is_double: bool) -> TrainState: ...
    def __reduce__(self) -> tuple[Any, ...]: ...
    def __eq__(self, other: object, /) -> bool: ...

@disjoint_base
class Target:
    """What outputs are to be: `labels [B]`, `probabilities`, `values` or `binary` `[B, K]`; with steps `T` before `B` for a
    network with a recurrent layer."""

    def __new__(
        cls,
        kind: Literal["labels", "probabilities", "values", "binary"],
        y: Array,
        *,
        weights: Array | None = None,
        mask: Array | None = None,
        smoothing: float = 0.0,
    ) -> Self: ...

def loss(outputs: Array, target: Target) -> tuple[float, Array]:
    """The loss of outputs `[B, K]`, and its gradient by them."""

@final
class Plan:
    """The passes through a network, on parameters that somebody else owns: a sequence of arrays for each layer."""

    def __new__(cls, shapes: Sequence[Shape], dtype: Dtype) -> Self: ...
    shapes: list[Shape]
    dtype: Dtype
    def train_step(
        self,
        params: Sequence[Sequence[Array]],
        states: Sequence[State],
        state: TrainState,
        x: Array | Sequences,
        target: Target,
        update: Update,
        threads: int,
    ) -> float: ...
    def gradients(
        self,
        params: Sequence[Sequence[Array]],
        x: Array | Sequences,
        target: Target,
        gradients: Sequence[Sequence[Array]],
        threads: int,
    ) -> float: ...
    def apply(
        self,
        params: Sequence[Sequence[Array]],
        states: Sequence[State],
        state: TrainState,
        gradients: Sequence[Sequence[Array]],
        update: Update,
        threads: int,
    ) -> None: ...
    def evaluate(
        self, params: Sequence[Sequence[Array]], x: Array | Sequences, target: Target, threads: int
    ) -> tuple[float, int, int]:
        """Loss, errors, and examples that count."""
    def logits(self, params: Sequence[Sequence[Array]], x: Array | Sequences, threads: int) -> Array: ...
    def inspect(
        self, params: Sequence[Sequence[Array]], x: Array | Sequences, target: Target, update: Update, threads: int
    ) -> list[dict[str, Any]]: ...
    def low_divisors(self) -> list[tuple[int, int, float | None] | None]: ...
    def keep_at_most(self, steps: int | None) -> None:
        """Keeps no more than so many steps of a sequence for the backward pass, and makes the others once more; None keeps
        all. Changes no bit."""
    def last_states(self) -> list[Array | None]:
        """Copies of the states `[B, ne]` in which the last sequences ended, of each recurrent layer."""

def save(
    path: str,
    shapes: Sequence[Shape],
    params: Sequence[Sequence[Array]],
    states: Sequence[State],
    state: TrainState,
    seed: int,
    scaler: tuple[Sequence[float], Sequence[float]] | None = None,
) -> None: ...
def load(
    path: str, dtype: Dtype
) -> tuple[
    list[Shape], Dtype, list[list[Array]], list[State], TrainState, int, tuple[list[float], list[float]] | None
]:
    """Shapes, element type, parameters (of NumPy), what steps keep, the state, the seed, the scaler."""

def digits(train: int, test: int, seed: int) -> tuple[Array, Array, Array, Array]:
    """Drawn digits: training images `[N, 784]` and labels `[N]`, then those of the test."""

def load_images(folder: str) -> tuple[Array, Array, Array, Array]:
    """A data set in MNIST's format, plain or compressed: images as numbers from 0 to 1, and labels."""

def isas() -> list[str]: ...
def isa() -> str: ...
def pools() -> int:
    """How many pools of threads this process has."""

def _use_dlpack(wanted: bool) -> None:
    """For tests: whether tensors are read by DLPack's table of C functions, or by their attributes."""
