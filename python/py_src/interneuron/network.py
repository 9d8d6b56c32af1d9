"""Networks on NumPy arrays."""

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from . import _check, _core, checkpoint, presets
from ._core import Sequences, Shape, Update
from ._threads import get_num_threads
from ._types import Divisor, Dtype
from .errors import DivisorError, InvalidValue, ShapeError, TooLarge
from .history import History, LayerStatistics, LowDivisors, _module, arrays
from .presets import Kind, for_each_layer
from .scaler import Scaler
from .targets import Target
from .updates import Schedule

if TYPE_CHECKING:
    import xarray

Floats: TypeAlias = npt.NDArray[Any]
"""An array of the element type of the network."""
Labels: TypeAlias = npt.NDArray[np.integer[Any]] | Sequence[int]
Scheme: TypeAlias = Literal["matched", "independent", "centred"] | float
LastBatch: TypeAlias = Literal["spread", "short"]


@dataclass(frozen=True)
class Evaluation:
    """Loss and errors on some examples."""

    loss: float
    """What the target says: for labels the mean cross-entropy in nats."""
    errors: int
    """Examples whose largest output is not that of their label; 0 where the target knows no classes."""
    examples: int
    """Examples that count: all whose weight is not zero."""

    @property
    def error(self) -> float:
        """The part of the examples that are errors, from 0 to 1; NaN without examples."""
        return self.errors / self.examples if self.examples else float("nan")


class Network:
    """A network of layers, with its parameters as NumPy arrays and what updates keep of them.

    `dims` are the inputs and then the units of each layer, `nis` the interneurons of each layer; `kind`,
    `divisor`, `subtractive` and `ratio` as in `presets.shapes`. The parameters are drawn from `seed`, with
    the bits of the Rust crate: by `scheme`, `"matched"`, `"independent"`, `"centred"` or the k of lognormal
    weights, one for all layers or a sequence; with `x [B, d]`, a batch of inputs, layers with interneurons
    are drawn from the moments of their inputs. `mean_input` is what the biases of a first layer with
    sign-constrained columns make up for. `dtype` is `"float32"` or `"float64"`: that of all arrays, x
    included. Nothing is cast.

    With recurrent layers (`Network.of` of shapes such as `Shape.recurrent_dann`), inputs are sequences x
    [T, B, d], one step after the other, or `Sequences` with noise and first states. Then labels are [T, B],
    probabilities and values [T, B, K] and weights [T, B]: L = Σ w ℓ / Σ w over steps and examples, so that w
    chooses the steps that count, and padding has w = 0.

    Bits do not depend on the number of threads. One call at a time: another thread that calls meanwhile gets
    `InUse`.

    Raises `ShapeError` or `InvalidValue` for what makes no network, `TooLarge` if it does not fit in memory.
    """

    seed: int
    """The seed that the parameters are of."""
    _most_steps: int | None = None
    """How many steps are kept for the backward pass."""
    scaler: Scaler | None
    """What is done to inputs before this network sees them, if anything: kept in checkpoints, applied by the
    caller."""

    def __init__(
        self,
        dims: Sequence[int],
        nis: Sequence[int] | None = None,
        *,
        kind: Kind = "dann",
        seed: int = 0,
        dtype: npt.DTypeLike = "float32",
        divisor: Divisor | None | Sequence[Divisor | None] = "plain",
        subtractive: bool = False,
        scheme: Scheme | Sequence[Scheme] = "matched",
        ratio: int | None = None,
        mean_input: float = 0.0,
        x: Floats | None = None,
    ):
        shapes = presets.shapes(dims, nis, kind=kind, divisor=divisor, subtractive=subtractive, ratio=ratio)
        self._begin(shapes, seed, dtype)
        self._draw(scheme, mean_input, x, None, False)

    @classmethod
    def of(
        cls,
        shapes: Iterable[Shape],
        *,
        seed: int = 0,
        dtype: npt.DTypeLike = "float32",
        scheme: Scheme | Sequence[Scheme] = "matched",
        mean_input: float = 0.0,
        x: Floats | None = None,
        radius: float | None = None,
        few_inputs: bool = False,
    ) -> "Network":
        """A network of layers of any kind, from the input to the output; the rest as in `Network`.

        For recurrent layers, `radius` is the spectral radius of the recurrent weights as they are drawn, that
        of the published networks if None, and `few_inputs` draws the input weights for a few inputs to many
        units, Uex ~ Exp(1/√d), whose drive would otherwise vanish beside noise.
        """
        self = cls.__new__(cls)
        self._begin(list(shapes), seed, dtype)
        self._draw(scheme, mean_input, x, radius, few_inputs)
        return self

    def _begin(self, shapes: list[Shape], seed: int, dtype: npt.DTypeLike) -> None:
        """Everything but the numbers in the arrays."""
        self.seed = _check.seed(seed)
        self.scaler = None
        self._plan = _core.Plan(shapes, dtype_name(dtype))
        try:
            self._params = [
                [np.empty(size, self.dtype) for _, size, *_ in shape.parameters] for shape in shapes
            ]
        except MemoryError as error:
            raise TooLarge(f"the parameters of {', '.join(map(str, shapes))} do not fit in memory") from error
        self._states = [_core.State(shape, self.dtype) for shape in shapes]
        self._state = _core.TrainState(self.seed)

    def _draw(
        self,
        scheme: Scheme | Sequence[Scheme],
        mean_input: float,
        x: Floats | None,
        radius: float | None,
        few_inputs: bool,
    ) -> None:
        schemes = for_each_layer("scheme", scheme, len(self.shapes))
        if x is not None:
            x = self._inputs(x)
        _core.draw(
            self.shapes,
            self._params,
            self.seed,
            schemes=schemes,
            mean_input=mean_input,
            x=x,
            radius=radius,
            few_inputs=few_inputs,
        )

    @property
    def shapes(self) -> list[Shape]:
        """The shapes of the layers, from the input to the output."""
        return self._plan.shapes

    @property
    def dtype(self) -> Dtype:
        """The element type of all arrays: `"float32"` or `"float64"`."""
        return self._plan.dtype

    @property
    def inputs(self) -> int:
        """How many inputs it has."""
        return self.shapes[0].inputs

    @property
    def outputs(self) -> int:
        """How many outputs it has: of a classifier, the classes."""
        return self.shapes[-1].outputs

    @property
    def steps(self) -> int:
        """Steps taken so far."""
        return self._state.steps

    def __repr__(self) -> str:
        layers = ", ".join(map(str, self.shapes))
        return f"<Network of {layers}; {self.dtype}, seed {self.seed}, {self.steps} steps>"

    # ---- passes

    def train_step(self, x: Floats | Sequences, y: Labels | _core.Target, update: Update) -> float:
        """Forward, loss, backward and update in one call: overwrites the parameters; returns the loss before.

        `x [B, d]` is of the network's element type, `y` are labels [B] or a `Target`; with recurrent layers
        `x [T, B, d]`, also in `Sequences`, and labels [T, B]. The same bits as
        `gradients` and then `apply`.

        Raises `Diverged` if the loss is not finite, `DivisorError` if inputs below 0 make inhibition
        negative, `InvalidValue` for a label, a number or an input that cannot be used, `ShapeError`,
        `TypeError` for another element type. The parameters, and what the update keeps of them, are then as
        they were.
        """
        target = self._target(y)
        x = self._inputs(x)
        try:
            return self._plan.train_step(
                self._params, self._states, self._state, x, target, update, get_num_threads()
            )
        except DivisorError as error:
            error.add_note(_REMEDIES)
            raise

    def gradients(
        self, x: Floats | Sequences, y: Labels | _core.Target, out: Mapping[str, Floats] | None = None
    ) -> tuple[float, dict[str, Floats]]:
        """The loss, and its gradients by all parameters, without corrections, by the names of `params()`.

        They overwrite the arrays of `out`, such as an earlier call returned, or are new arrays. Those of
        statistics of batch normalisation are the statistics of the batch. Raises as `train_step`.
        """
        target = self._target(y)
        x = self._inputs(x)
        layers = (
            [list(map(np.empty_like, layer)) for layer in self._params]
            if out is None
            else self._layers("out", out)
        )
        try:
            loss = self._plan.gradients(self._params, x, target, layers, get_num_threads())
        except DivisorError as error:
            error.add_note(_REMEDIES)
            raise
        return loss, self._named(layers)

    def apply(self, gradients: Mapping[str, Floats], update: Update) -> None:
        """A step with such gradients as `gradients` returns, or as somebody made of them: overwrites the
        parameters.

        Raises `ShapeError`, `InvalidValue` or `TypeError` for arrays or an update that cannot be used; a
        natural gradient is for `train_step` only.
        """
        layers = self._layers("gradients", gradients)
        self._plan.apply(self._params, self._states, self._state, layers, update, get_num_threads())

    def logits(self, x: Floats | Sequences) -> Floats:
        """The outputs `[..., K]` of the last layer for `x [..., d]`, which may have no rows. Batch
        normalisation takes its running statistics, as in `evaluate`."""
        logits: Floats = self._plan.logits(self._params, self._inputs(x), get_num_threads())
        return logits

    def evaluate(self, x: Floats | Sequences, y: Labels | _core.Target) -> Evaluation:
        """Loss and errors on `x [B, d]`. Changes nothing. Divisors below their bound are counted, not
        refused: see `low_divisors`."""
        target = self._target(y)
        loss, errors, examples = self._plan.evaluate(self._params, self._inputs(x), target, get_num_threads())
        return Evaluation(loss, errors, examples)

    def low_divisors(self) -> list[LowDivisors | None]:
        """How many divisors of each layer were below their bound in the last pass, None for layers that do
        not divide."""
        return [None if low is None else LowDivisors(*low) for low in self._plan.low_divisors()]

    def activations(self, x: Floats | Sequences) -> list[Floats]:
        """The outputs `[B, ne]` of every layer for `x [B, d]`, as in `logits`; with recurrent layers
        `[T, B, ne]` for `x [T, B, d]`. States that are carried over are for `logits`: `InvalidValue`."""
        h: Any = self._inputs(x)
        noise: Mapping[int, Any] = {}
        states: Mapping[int, Any] = {}
        if isinstance(h, Sequences):
            if h.carried:
                raise InvalidValue("carried is True: expected states, such as last_states() returns")
            noise, states, h = self._of_layers(h.noise), self._of_layers(h.states), h.x
        outputs = []
        for k, (shape, params) in enumerate(zip(self.shapes, self._params, strict=True)):
            if k in noise or k in states:
                h = Sequences(h, noise=noise.get(k), states=states.get(k))
            h, _ = _core.forward(shape, h, params, get_num_threads(), False)
            outputs.append(h)
        return outputs

    def _of_layers(self, arrays: Any) -> Mapping[int, Any]:
        """Noise or states by the number of their layer."""
        if arrays is None or isinstance(arrays, Mapping):
            return arrays or {}
        return {k: arrays for k, shape in enumerate(self.shapes) if shape.dynamics is not None}

    def last_states(self) -> list[Floats | None]:
        """Copies of the states `[B, ne]` in which the last sequences ended, None for layers that are not
        recurrent: h_T, or v_T in the state form. `Sequences` takes them as `states`, or, without copies,
        goes on there with `carried=True`."""
        return self._plan.last_states()

    def keep_at_most(self, steps: int | None) -> None:
        """Keeps no more than so many steps of a sequence for the backward pass, about √T of which take the
        least memory; the others are made once more. None keeps all, as at first. Changes no bit."""
        self._most_steps = None if steps is None else _check.whole("steps", steps, 1)
        self._plan.keep_at_most(self._most_steps)

    def inspect(self, x: Floats | Sequences, y: Labels | _core.Target, update: Update) -> list[LayerStatistics]:
        """Statistics of each layer on `x [B, d]`, in a pass as that of training; `history.arrays` makes
        arrays of them. Changes nothing. `update` is that of the step whose cosine is told."""
        target = self._target(y)
        said = self._plan.inspect(self._params, self._inputs(x), target, update, get_num_threads())
        return [LayerStatistics.of(layer) for layer in said]

    def inspect_dataset(
        self, x: Floats | Sequences, y: Labels | _core.Target, update: Update
    ) -> "xarray.Dataset":
        """`inspect` as a Dataset of xarray, with the dimension `layer`, and for each `unit` of a layer
        `activity`, its mean output over the examples, and `active`, the part of the examples for which it is
        not zero; NaN where a layer has fewer units. Raises `ImportError` if xarray is not installed."""
        xr = _module("xarray", "Network.inspect_dataset")
        data: dict[str, Any] = {
            name: ("layer", it) for name, it in arrays(self.inspect(x, y, update)).items()
        }
        size = (len(self.shapes), max(shape.outputs for shape in self.shapes))
        activity, active = np.full(size, np.nan), np.full(size, np.nan)
        for k, h in enumerate(self.activations(x)):
            h = h.reshape(-1, h.shape[-1])
            activity[k, : h.shape[1]] = h.mean(axis=0, dtype=np.float64)
            active[k, : h.shape[1]] = (h != 0).mean(axis=0)
        data.update(activity=(("layer", "unit"), activity), active=(("layer", "unit"), active))
        coordinates = {"layer": np.arange(size[0]), "unit": np.arange(size[1])}
        dataset: xarray.Dataset = xr.Dataset(data, coords=coordinates, attrs={"step": self.steps})
        return dataset

    # ---- parameters

    def params(self) -> dict[str, Floats]:
        """The parameters by their names, `layers.0.Wex`: the arrays themselves, not copies.

        They may be written to, in place. What updates keep of them (velocities, moments) stays as it is:
        `forget` clears it. Nothing is checked before the next call: of `Wex`, `Wix`, `Wei`, `g` and `Wpos`
        elements are to stay ≥ 0. `set_params` checks.
        """
        return self._named(self._params)

    def set_params(self, params: Mapping[str, npt.ArrayLike]) -> None:
        """Copies arrays into the parameters of these names; others stay. What updates keep stays, too.

        Raises `InvalidValue` for a name that is not there, and for an element that is not finite, or negative
        where a parameter keeps its sign; `ShapeError` and `TypeError` for arrays that do not fit. Nothing is
        changed then.
        """
        own = self.params()
        signed = dict(self._names_and(lambda parameter: parameter[3]))
        checked = {}
        for name, value in params.items():
            if name not in own:
                raise InvalidValue(f"params has {name!r}: expected names among {', '.join(own)}")
            array = np.asarray(value)
            if array.dtype != own[name].dtype:
                raise TypeError(
                    f'{name} is of {array.dtype}: expected {self.dtype}, by {name}.astype("{self.dtype}")'
                )
            if array.shape != own[name].shape:
                raise ShapeError(f"{name} has the shape {array.shape}: expected {own[name].shape}")
            fine = np.isfinite(array) if signed[name] else np.isfinite(array) & (array >= 0)
            if not fine.all():
                place = [int(k) for k in np.argwhere(~fine)[0]]
                expected = "a finite number" if signed[name] else "a finite number ≥ 0"
                raise InvalidValue(f"{name}{place} is {array[tuple(place)]}: expected {expected}")
            checked[name] = array
        # Those that are parameters of this network under another name are read before they are written.
        checked = {name: array.copy() for name, array in checked.items()}
        for name, array in checked.items():
            own[name][...] = array

    def state(self) -> dict[str, Floats]:
        """Copies of what updates keep of the parameters, by the names of checkpoints:
        `layers.0.velocity.Wex`. Empty before the first step, and with updates that keep nothing."""
        kept = {}
        for k, (shape, state) in enumerate(zip(self.shapes, self._states, strict=True)):
            for slot in state.names():
                for (name, *_), array in zip(shape.parameters, state.get(slot) or [], strict=True):
                    if array is not None:
                        kept[f"layers.{k}.{slot}.{name}"] = array
        return kept

    def forget(self, layer: int | None = None) -> None:
        """Forgets what updates keep of a layer, or of all: velocities and moments begin at zero again."""
        layers = (
            range(len(self._states))
            if layer is None
            else [_check.whole("layer", layer, 0, len(self._states) - 1)]
        )
        for k in layers:
            self._states[k].clear()

    def copy(self) -> "Network":
        """A network of its own that goes on with the same bits."""
        other = type(self).__new__(type(self))
        other.seed, other.scaler = self.seed, self.scaler
        other._plan = _core.Plan(self.shapes, self.dtype)
        other._params = [[array.copy() for array in layer] for layer in self._params]
        other._states = [state.copy() for state in self._states]
        other._state = self._state.copy()
        other.keep_at_most(self._most_steps)
        return other

    def __copy__(self) -> "Network":
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> "Network":
        return self.copy()

    # ---- files

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a checkpoint, a safetensors file that the Rust crate reads, too: parameters, what updates
        keep, the steps, the seed, the scaler. It takes the place of what was there only when it is whole.

        Raises `CheckpointError` if it cannot be written, `InvalidValue` if a number is not finite, or
        negative where it cannot be. What was at `path` is still there then.
        """
        scaler = None if self.scaler is None else (self.scaler.offset.tolist(), self.scaler.scale.tolist())
        _core.save(os.fspath(path), self.shapes, self._params, self._states, self._state, self.seed, scaler)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Network":
        """The network that a checkpoint holds, of the element type that it was saved with. It goes on with
        the same bits.

        Raises `CheckpointError` if the file cannot be read, or does not hold what it should.
        """
        shapes, dtype, params, states, state, seed, scaler = _core.load(
            os.fspath(path), checkpoint.dtype(path)
        )
        self = cls.__new__(cls)
        self.seed = seed
        self.scaler = None if scaler is None else Scaler(*scaler)
        self._plan = _core.Plan(shapes, dtype)
        self._params, self._states, self._state = params, states, state
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {
            "shapes": self.shapes,
            "dtype": self.dtype,
            "seed": self.seed,
            "scaler": self.scaler,
            "params": self._params,
            "kept": [{name: state.get(name) for name in state.names()} for state in self._states],
            "state": self._state.copy(),
            "most_steps": self._most_steps,
        }

    def __setstate__(self, saved: dict[str, Any]) -> None:
        shapes, dtype = saved["shapes"], saved["dtype"]
        self.seed, self.scaler = saved["seed"], saved["scaler"]
        self._plan = _core.Plan(shapes, dtype)
        # Some who unpickle (joblib) lay arrays into memory that is read-only.
        self._params = [
            [np.require(it, requirements=["C", "W", "O"]) for it in layer] for layer in saved["params"]
        ]
        self._states = [_core.State(shape, dtype) for shape in shapes]
        for state, params, kept in zip(self._states, self._params, saved["kept"], strict=True):
            for name, slot in kept.items():
                state.set(params, name, slot)
        self._state = saved["state"]
        self.keep_at_most(saved.get("most_steps"))

    # ---- epochs

    def fit(
        self,
        x: Floats,
        y: Labels | Target,
        update: Update,
        *,
        epochs: int = 1,
        batch_size: int = 32,
        last_batch: LastBatch = "spread",
        seed: int | None = None,
        schedule: Schedule | None = None,
        validation: tuple[Floats, Labels | Target] | None = None,
        inspect: bool = False,
        progress: bool = False,
        callback: Callable[[dict[str, float], "Network"], object] | None = None,
        history: History | None = None,
    ) -> History:
        """Shows the network all examples in a new random order each epoch, and returns a `History`.

        `x [N, d]` is of the network's element type; it may be read-only or memory-mapped, as batches are
        gathered from it. With recurrent layers it is `x [T, N, d]`, N sequences, and labels are [T, N].
        `update` has the learning rate, or `schedule` has one for each step, counted by
        `steps`. `batch_size` examples make a step. Those that do not fill a batch are spread over the steps
        of the epoch (`"spread"`), or make a short last step (`"short"`). The order of an epoch depends on
        `seed`, by default the network's, and on how many such epochs its `steps` are; so two calls, or a run
        that goes on from a checkpoint, take the steps of one call. With `validation`, (x, y), the network is
        evaluated after each epoch, with `inspect` its layers are inspected on the first 256 of these
        examples, or else of x.

        `progress` shows a bar of tqdm, which must be installed. `callback(row, network)` is called after each
        epoch and ends the run by returning something true. Rows are added to `history`, if one is given: an
        exception leaves it what was reached.

        Raises as `train_step`.
        """
        x = self._examples("x", x)
        target = self._whole_target(x, y)
        count, epochs = x.shape[self._axis], _check.whole("epochs", epochs, 0)
        batch = _check.whole("batch_size", batch_size, 1)
        if batch > count:
            raise InvalidValue(f"batch_size is {batch}: expected at most {count}, the number of examples")
        _check.name("last_batch", last_batch, ("spread", "short"))
        bounds = _bounds(count, batch, last_batch)
        order_seed = self.seed if seed is None else _check.seed(seed)
        fewest = min(end - begin for begin, end in bounds)
        if fewest < 2 and any(shape.kind == "batch_norm" for shape in self.shapes):
            raise InvalidValue(
                f"batch_size is {batch}: of {count} examples a step would have only one, and batch "
                "normalisation needs two"
            )
        held: tuple[Floats, Target] | None = None
        if validation is not None:
            held_x = self._examples("validation x", validation[0])
            held = held_x, self._whole_target(held_x, validation[1])
        history = History() if history is None else history
        bar = _module("tqdm", "progress").tqdm(total=epochs * len(bounds), unit="step") if progress else None
        try:
            for _ in range(epochs):
                row = self._epoch(x, target, update, schedule, bounds, order_seed, bar)
                row = {"epoch": len(history) + 1, **row}
                if held is not None:
                    evaluation = self.evaluate(*held)
                    row.update(validation_loss=evaluation.loss, validation_error=evaluation.error)
                layers = None
                if inspect:
                    some, of_some = (x, target) if held is None else held
                    some = some[:, :256] if self._axis == 1 else some[:256]
                    of_some = of_some.rows(slice(256), axis=self._axis)
                    layers = self.inspect(some, of_some, update.with_lr(row["lr"]))
                history.add(row, layers)
                if bar is not None:
                    bar.set_postfix(
                        {name: value for name, value in row.items() if "loss" in name or "error" in name}
                    )
                if callback is not None and callback(row, self):
                    break
        finally:
            if bar is not None:
                bar.close()
        return history

    def _epoch(
        self,
        x: Floats,
        target: Target,
        update: Update,
        schedule: Schedule | None,
        bounds: Sequence[tuple[int, int]],
        seed: int,
        bar: Any,
    ) -> dict[str, float]:
        """All examples once; what is told of it."""
        start, lr, losses = time.perf_counter(), update.lr, 0.0
        order = np.random.default_rng((seed, self.steps // len(bounds))).permutation(x.shape[self._axis])
        for begin, end in bounds:
            if schedule is not None:
                lr = schedule.rate(self.steps + 1)
                update = update.with_lr(lr)
            index = order[begin:end]
            some = np.take(x, index, axis=1) if self._axis == 1 else x[index]
            losses += (end - begin) * self.train_step(some, target.rows(index, axis=self._axis), update)
            if bar is not None:
                bar.update()
        seconds = time.perf_counter() - start
        return {"step": self.steps, "lr": lr, "loss": losses / len(order), "seconds": seconds}

    # ---- arguments

    @property
    def _axis(self) -> Literal[0, 1]:
        """Which dimension of inputs counts examples: steps come first where layers are recurrent."""
        return 1 if any(shape.dynamics is not None for shape in self.shapes) else 0

    def _inputs(self, x: Any) -> Any:
        """Inputs, of which the kernels check the rest. What is said of integers tells what images need."""
        if isinstance(x, Sequences):
            self._inputs(x.x)
        if isinstance(x, np.ndarray) and x.dtype.kind in "iub":
            dtype = self.dtype
            raise TypeError(
                f'x is of {x.dtype}: expected {dtype}, by x.astype("{dtype}"); images of 0 to 255 also need '
                "/ 255"
            )
        return x

    def _examples(self, name: str, x: Any) -> Floats:
        """The examples of a data set, [N, d] or [T, N, d]."""
        if not isinstance(x, np.ndarray):
            raise TypeError(f"{name} is {type(x)}: expected an array of NumPy")
        if self._inputs(x).dtype != self.dtype:
            raise TypeError(
                f'{name} is of {x.dtype}: expected {self.dtype}, by {name}.astype("{self.dtype}")'
            )
        steps = "T, " if self._axis == 1 else ""
        if x.ndim != 2 + self._axis or x.shape[-1] != self.inputs or 0 in x.shape:
            raise ShapeError(
                f"{name} has the shape {x.shape}: expected [{steps}N, {self.inputs}], with at least one example"
            )
        return x

    def _whole_target(self, x: Floats, y: Any) -> Target:
        """The target of a data set, from which batches can be taken."""
        target = self._target(y)
        if not isinstance(target, Target):
            raise TypeError(f"y is {type(target)}: expected labels, or a Target of interneuron")
        for name, array in (("y", target.y), ("weights", target.weights), ("mask", target.mask)):
            if array is not None and not isinstance(array, np.ndarray):
                raise TypeError(f"{name} is {type(array)}: expected an array of NumPy")
            lead = x.shape[: self._axis + 1]
            if array is not None and self._axis == 1 and array.shape[:2] != lead:
                raise ShapeError(
                    f"{name} has the shape {array.shape}: expected {list(lead)} steps and examples, as x has"
                )
            if array is not None and len(array) != len(x):
                raise ShapeError(
                    f"{name} has {len(array)} elements or rows: expected {len(x)}, as many as x has rows"
                )
        return target

    @staticmethod
    def _target(y: Any) -> _core.Target:
        if isinstance(y, _core.Target):
            return y
        return Target("labels", np.asarray(y) if isinstance(y, list | tuple) else y)

    def _names_and(
        self, what: Callable[[tuple[str, tuple[int, ...], str, bool, float]], Any]
    ) -> list[tuple[str, Any]]:
        """Something of each parameter, after its name."""
        return [
            (f"layers.{k}.{it[0]}", what(it))
            for k, shape in enumerate(self.shapes)
            for it in shape.parameters
        ]

    def _named(self, layers: Sequence[Sequence[Floats]]) -> dict[str, Floats]:
        """The arrays of layers by their names."""
        names = [name for name, _ in self._names_and(lambda _: None)]
        return dict(zip(names, (array for layer in layers for array in layer), strict=True))

    def _layers(self, argument: str, arrays: Mapping[str, Floats]) -> list[list[Floats]]:
        """Arrays for all parameters, in their order, from their names."""
        names = [name for name, _ in self._names_and(lambda _: None)]
        if set(arrays) != set(names):
            wrong = sorted(set(arrays) ^ set(names))
            raise InvalidValue(f"{argument} lacks, or has beyond the parameters, {', '.join(wrong)}")
        in_order = iter(names)
        return [[arrays[next(in_order)] for _ in layer] for layer in self._params]


_REMEDIES = (
    'of Network: divisor=[0.01, "plain", ...] or ["root", "plain", ...] gives the first layer a floor or a '
    "root; "
    '[None, "plain", ...] with scheme=["centred", "matched", ...] lets it only subtract; '
    "InputStatistics(x).shifted(...) makes inputs ≥ 0"
)


def dtype_name(dtype: npt.DTypeLike) -> Dtype:
    """The name of an element type."""
    try:
        name = np.dtype(dtype).name
    except TypeError:
        name = repr(dtype)
    if name == "float32":
        return "float32"
    if name == "float64":
        return "float64"
    raise InvalidValue(f'dtype is {dtype!r}: expected "float32" or "float64"')


def _bounds(count: int, batch: int, last: LastBatch) -> list[tuple[int, int]]:
    """Where the batch of each step of an epoch begins and ends."""
    if last == "spread":
        steps = max(count // batch, 1)
        edges = [count * step // steps for step in range(steps + 1)]
    else:
        edges = [*range(0, count, batch), count]
    return list(zip(edges, edges[1:], strict=False))
