"""A classifier in scikit-learn's manner, which does not need scikit-learn."""

import functools
import importlib
import inspect
import sys
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from . import _check, updates
from ._core import Update
from ._threads import MOST_THREADS, threads
from .errors import DivisorError, InvalidValue, NotFitted, ShapeError
from .history import History
from .network import Network, dtype_name
from .presets import KINDS, Kind, shapes
from .scaler import InputStatistics, Scaler
from .targets import Target
from .updates import Schedule

Standardise: TypeAlias = Literal["no", "all", "each"]
Remedy: TypeAlias = Literal["auto", "none", "shift", "floor", "root", "subtractive"]
Floats: TypeAlias = npt.NDArray[np.float64]

FLOOR = 0.01
"""The least divisor of a first layer with `remedy="floor"`. Any from 1e-4 to 1 does."""

_REMEDIES = ("auto", "none", "shift", "floor", "root", "subtractive")
_UPDATES = ("sgd", "csgd", "adam", "adamw", "eg", "adamw_eg")
# Examples that are predicted together, so that outputs of hidden layers need little memory.
_ROWS = 4096


class DannClassifier:
    """A network with separate excitatory and inhibitory units, or one that it is compared with, as a
    classifier.

    The rules are scikit-learn's: parameters are looked at in `fit`, names of what was learnt end in `_`,
    `clone`, pipelines and searches work, labels are of any type. scikit-learn need not be installed.

    Parameters
    ----------
    hidden : units of each hidden layer (excitatory ones with `kind="dann"`).
    inhibitory : interneurons of each hidden layer, a number for all or one for each; the output layer has
        one. Only for `kind="dann"`.
    kind : `"dann"`, `"mlp"`, `"layer_norm"`, `"batch_norm"` or `"column_ei"`: see `presets.shapes`.
    lr : the learning rate, ≥ 0; with a schedule the largest.
    update : how a step changes the parameters: `"sgd"`, `"csgd"`, `"adam"`, `"adamw"`, `"eg"`, `"adamw_eg"`,
        or an `Update`, whose own rate does not count; None: `"csgd"` for `"dann"`, `"sgd"` for the others.
    batch_size : examples of a step; of fewer examples all. What does not fill a batch is spread over the
        steps of an epoch.
    epochs : passes over the examples in `fit`. `partial_fit` makes one.
    schedule : `"constant"`, or `"linear"` or `"cosine"` down to 0 at the end of `fit`.
    seed : of the parameters and of the order of the examples.
    standardise : gives inputs mean 0 and variance 1: `"no"`, `"all"` (together), `"each"` (by itself).
    remedy : what makes up for inputs below 0, with which divisive inhibition would be negative. `"shift"`
        takes from each input its smallest value in the training data; `"floor"` (divisors of 0.01 at least),
        `"root"` (roots as divisors) and `"subtractive"` give another first layer, for `kind="dann"` only.
        With `"none"`, inputs that make a divisor negative are a `DivisorError`. `"auto"` is `"root"` where
        `kind` is `"dann"` and an input of the training data is below 0 after standardising, else `"none"`;
        `remedy_` tells which. Of few inputs, fewer than ten or so, a divisor takes away what they have in
        common, their size: `"subtractive"` then learns best.
    dtype : `"float32"` or `"float64"`, in which everything is computed. X is converted to it once.
    n_threads : how many threads compute; None: as `get_num_threads` says. It changes no bit of what is
        learnt.
    verbose : whether to print a line after each epoch.

    Attributes
    ----------
    classes_ : the labels, sorted. `n_features_in_`: inputs. `feature_names_in_`: their names, if X was a data
        frame.
    network_ : the `Network`; `network_.save` writes a checkpoint. `scaler_` : what is done to inputs before,
        a `Scaler` or None.
    remedy_ : which remedy was taken. `history_` : a `History`, a row for each epoch.
    """

    classes_: npt.NDArray[Any]
    feature_names_in_: npt.NDArray[Any]
    n_features_in_: int
    network_: Network
    scaler_: Scaler | None
    remedy_: Remedy
    history_: History

    def __init__(
        self,
        hidden: Sequence[int] = (500, 500, 500),
        inhibitory: int | Sequence[int] = 50,
        *,
        kind: Kind = "dann",
        lr: float = 0.11,
        update: str | Update | None = None,
        batch_size: int = 32,
        epochs: int = 10,
        schedule: Literal["constant", "linear", "cosine"] = "constant",
        seed: int = 0,
        standardise: Standardise = "no",
        remedy: Remedy = "auto",
        dtype: str = "float32",
        n_threads: int | None = None,
        verbose: bool = False,
    ):
        self.hidden = hidden
        self.inhibitory = inhibitory
        self.kind = kind
        self.lr = lr
        self.update = update
        self.batch_size = batch_size
        self.epochs = epochs
        self.schedule = schedule
        self.seed = seed
        self.standardise = standardise
        self.remedy = remedy
        self.dtype = dtype
        self.n_threads = n_threads
        self.verbose = verbose

    # ---- learning

    def fit(
        self,
        X: npt.ArrayLike,
        y: npt.ArrayLike,
        sample_weight: npt.ArrayLike | None = None,
        *,
        validation: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
    ) -> "DannClassifier":
        """Learns from X [N, d] and labels y [N], from the beginning.

        X is converted to `dtype` once, if it is of another type; otherwise it may be read-only or
        memory-mapped, and is not copied unless it is scaled. `sample_weight` [N] ≥ 0 are the weights of the
        examples within a batch; what `standardise` and `"shift"` know of the inputs is without them.
        `validation`, (X, y), is evaluated after each epoch: see `history_`.

        Raises `ValueError` for NaN and what else cannot be learnt, `Diverged` if the loss is not finite,
        `DivisorError` if inputs below 0 make inhibition negative.
        """
        x = self._features(X, fitting=True)
        labels = self._labels(y, len(x))
        weights = self._weights(sample_weight, len(x))
        self.classes_, numbers = np.unique(labels, return_inverse=True)
        self._begin(x)
        held = None
        if validation is not None:
            held_x = self._features(validation[0])
            held = self._scaled(held_x), self._numbers(self._labels(validation[1], len(held_x)))
        self._learn(self._scaled(x), numbers, weights, _check.whole("epochs", self.epochs, 1), held)
        return self

    def partial_fit(
        self,
        X: npt.ArrayLike,
        y: npt.ArrayLike,
        classes: npt.ArrayLike | None = None,
        sample_weight: npt.ArrayLike | None = None,
    ) -> "DannClassifier":
        """Goes once through X and y, from where earlier calls left off. The first call has all `classes`, and
        its X decides what is done to inputs (`scaler_`, `remedy_`). Raises as `fit`, and `InvalidValue` for a
        schedule that ends."""
        _check.name("schedule", self.schedule, ("constant",))
        first = not self.__sklearn_is_fitted__()
        if first and classes is None:
            raise InvalidValue(
                "classes is None: expected all labels that there will be, in the first call of partial_fit"
            )
        x = self._features(X, fitting=first)
        labels = self._labels(y, len(x))
        weights = self._weights(sample_weight, len(x))
        if classes is not None:
            all_classes = np.unique(np.asarray(classes))
            if first:
                self.classes_ = all_classes
            elif not np.array_equal(all_classes, self.classes_):
                raise InvalidValue(
                    f"classes is {all_classes}: expected those of the first call, {self.classes_}"
                )
        numbers = self._numbers(labels)
        if first:
            self._begin(x)
        self._learn(self._scaled(x), numbers, weights, 1, None)
        return self

    def _begin(self, x: npt.NDArray[Any]) -> None:
        """A fresh network for such inputs, and what is done to them."""
        _check.name("standardise", self.standardise, ("no", "all", "each"))
        _check.name("remedy", self.remedy, _REMEDIES)
        _check.name("kind", self.kind, KINDS)
        if self.kind != "dann" and self.remedy in ("floor", "root", "subtractive"):
            raise InvalidValue(
                f"remedy is {self.remedy!r} for kind {self.kind!r}, which does not divide: expected 'none'"
            )
        hidden = _check.wholes("hidden", self.hidden, 1)
        if self.standardise == "no" and self.remedy not in ("auto", "shift"):
            scaler, remedy = None, self.remedy
        else:
            scaler, remedy = self._preparation(InputStatistics(x))
        nis: list[int] | None = None
        if self.kind == "dann":
            inhibitory: Any = self.inhibitory
            if isinstance(inhibitory, int | np.integer):
                inhibitory = [inhibitory] * len(hidden)
            nis = _check.wholes("inhibitory", inhibitory, 1)
            if len(nis) != len(hidden):
                raise ShapeError(
                    f"inhibitory has {len(nis)} elements: expected {len(hidden)}, one for each hidden layer"
                )
            nis.append(1)
        layers = shapes([x.shape[1], *hidden, max(len(self.classes_), 1)], nis, kind=self.kind)
        schemes: list[Any] = ["matched"] * len(layers)
        if remedy in ("floor", "root", "subtractive"):
            divisor: Any = {"floor": FLOOR, "root": "root", "subtractive": None}[remedy]
            first = layers[0]
            layers[0] = type(first).dann(
                first.inputs, first.outputs, first.interneurons, relu=first.relu, divisor=divisor
            )
            if remedy == "subtractive":
                # So that also the excitation by negative inputs is centred.
                schemes[0] = "centred"
        network = Network.of(layers, seed=self.seed, dtype=self.dtype, scheme=schemes)
        network.scaler = scaler
        self.network_, self.scaler_, self.remedy_, self.history_ = network, scaler, remedy, History()

    def _preparation(self, statistics: InputStatistics) -> tuple[Scaler | None, Remedy]:
        """What is done to inputs, and which remedy that makes."""
        scaler = {
            "no": statistics.identity,
            "all": statistics.standardise,
            "each": statistics.standardise_each,
        }[self.standardise]()
        remedy = self.remedy
        if remedy == "auto":
            negative = bool((statistics.least < scaler.offset).any())
            remedy = "root" if self.kind == "dann" and negative else "none"
        if remedy == "shift":
            scaler = statistics.shifted(scaler)
        return (None if scaler.is_identity else scaler), remedy

    def _learn(
        self,
        x: npt.NDArray[Any],
        numbers: npt.NDArray[np.int64],
        weights: npt.NDArray[Any] | None,
        epochs: int,
        held: tuple[npt.NDArray[Any], npt.NDArray[np.int64]] | None,
    ) -> None:
        batch = min(_check.whole("batch_size", self.batch_size, 1), len(x))
        update = self._update()
        schedule = self._schedule(epochs * max(len(x) // batch, 1))
        try:
            with self._threads():
                self.network_.fit(
                    x,
                    Target("labels", numbers, weights=weights),
                    update,
                    epochs=epochs,
                    batch_size=batch,
                    schedule=schedule,
                    validation=held,
                    callback=_tell if self.verbose else None,
                    history=self.history_,
                )
        except DivisorError as error:
            share = "" if error.share is None else f"{100 * error.share:.2g} % of "
            raise DivisorError(
                f"layer {error.layer}: {share}its divisors are below 1e-8, the smallest is {error.smallest}: "
                "divisive "
                f"inhibition needs inputs ≥ 0, and remedy is {self.remedy_!r}; remedy='shift', 'floor', "
                "'root' or "
                "'subtractive' makes up for inputs below 0",
                error.layer,
                error.share,
                error.smallest,
            ) from error

    def _update(self) -> Update:
        lr = _check.number("lr", self.lr, 0.0)
        if isinstance(self.update, Update):
            return self.update.with_lr(lr)
        name = self.update
        if name is None:
            name = "csgd" if self.kind == "dann" else "sgd"
        rule = getattr(updates, _check.name("update", name, _UPDATES))
        update: Update = rule(lr)
        return update

    def _schedule(self, steps: int) -> Schedule | None:
        name = _check.name("schedule", self.schedule, ("constant", "linear", "cosine"))
        if name == "constant":
            return None
        return (Schedule.linear if name == "linear" else Schedule.cosine)(float(self.lr), steps)

    # ---- predicting

    def predict(self, X: npt.ArrayLike) -> npt.NDArray[Any]:
        """The most probable label of each row of X [N, d]."""
        numbers = self._logits(X).argmax(axis=1)
        labels: npt.NDArray[Any] = self.classes_[numbers]
        return labels

    def predict_proba(self, X: npt.ArrayLike) -> Floats:
        """The probabilities [N, K] of the classes in the order of `classes_`: the softmax of the outputs, in
        f64."""
        logits = self._logits(X).astype(np.float64)
        logits -= logits.max(axis=1, keepdims=True)
        np.exp(logits, out=logits)
        logits /= logits.sum(axis=1, keepdims=True)
        return logits

    def score(self, X: npt.ArrayLike, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None) -> float:
        """The part of the examples, from 0 to 1, whose label is predicted; with weights that of their sum."""
        predicted = self.predict(X)
        right = predicted == self._labels(y, len(predicted))
        weights = self._weights(sample_weight, len(right))
        return float(np.average(right, weights=weights))

    def _logits(self, X: npt.ArrayLike) -> npt.NDArray[Any]:
        if not self.__sklearn_is_fitted__():
            raise _not_fitted(f"This {type(self).__name__} is not fitted yet: call fit before")
        x = self._features(X)
        logits = np.empty((len(x), self.network_.outputs), x.dtype)
        low = 0
        with self._threads():
            for start in range(0, len(x), _ROWS):
                logits[start : start + _ROWS] = self.network_.logits(self._scaled(x[start : start + _ROWS]))
                counts = zip(self.network_.shapes, self.network_.low_divisors(), strict=True)
                low += sum(it.low for shape, it in counts if it is not None and shape.divisor == "plain")
        if low:
            warnings.warn(
                f"{low} divisors are below 1e-8, as inputs are below what the network was trained with: what "
                "it says of "
                "these inputs has no meaning. remedy='floor', 'root' or 'subtractive' would give it one",
                RuntimeWarning,
                stacklevel=3,
            )
        return logits

    # ---- arguments

    def _threads(self) -> AbstractContextManager[None]:
        if self.n_threads is None:
            return nullcontext()
        return threads(_check.whole("n_threads", self.n_threads, 1, MOST_THREADS))

    def _scaled(self, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return x if self.scaler_ is None else self.scaler_.apply(x)

    def _features(self, X: Any, *, fitting: bool = False) -> npt.NDArray[Any]:
        """X as a matrix of `dtype`, checked. The texts are those that scikit-learn's checks look for."""
        if hasattr(X, "tocsr"):
            raise TypeError(
                "Sparse data was passed for X, but dense data is required: X.toarray() makes it dense"
            )
        names = _feature_names(X)
        array = np.asarray(X)
        if array.dtype.kind == "c":
            raise InvalidValue(f"Complex data not supported: X is of {array.dtype}")
        if array.ndim != 2:
            raise ShapeError(
                f"Expected 2D array, got {array.ndim}D array instead: X has the shape {array.shape}. Reshape "
                "your data: "
                "X.reshape(-1, 1) if it has a single feature, X.reshape(1, -1) if it is a single sample"
            )
        for size, what in zip(array.shape, ("sample", "feature"), strict=True):
            if size == 0:
                raise ShapeError(
                    f"Found array with 0 {what}(s) (shape={array.shape}) while a minimum of 1 is required."
                )
        if array.dtype.kind in "OSU":
            array = array.astype(np.float64)
        self._check_features(array.shape[1], names, fitting)
        dtype = dtype_name(self.dtype) if fitting else self.network_.dtype
        with np.errstate(over="ignore"):
            x = array.astype(dtype, copy=False)
        if not np.isfinite(x).all():
            if np.isnan(x).any():
                raise InvalidValue("Input X contains NaN: expected finite numbers")
            raise InvalidValue(f"Input X contains infinity or a value too large for dtype({dtype!r})")
        return x

    def _check_features(self, count: int, names: npt.NDArray[Any] | None, fitting: bool) -> None:
        """Takes over number and names of the features, or compares them."""
        if fitting:
            self.n_features_in_ = count
            if names is not None:
                self.feature_names_in_ = names
            elif hasattr(self, "feature_names_in_"):
                del self.feature_names_in_
            return
        fitted = getattr(self, "feature_names_in_", None)
        if names is None and fitted is not None:
            warnings.warn(
                f"X does not have valid feature names, but {type(self).__name__} was fitted with feature "
                "names",
                UserWarning,
                stacklevel=4,
            )
        elif names is not None and fitted is None:
            warnings.warn(
                f"X has feature names, but {type(self).__name__} was fitted without feature names",
                UserWarning,
                stacklevel=4,
            )
        elif names is not None and fitted is not None and not np.array_equal(names, fitted):
            raise InvalidValue(_different_names(names, fitted))
        if count != self.n_features_in_:
            raise ShapeError(
                f"X has {count} features, but {type(self).__name__} is expecting {self.n_features_in_} "
                "features as input"
            )

    def _labels(self, y: Any, count: int) -> npt.NDArray[Any]:
        """Labels [N], checked."""
        if y is None:
            raise InvalidValue(f"{type(self).__name__} requires y to be passed, but the target y is None")
        if hasattr(y, "tocsr"):
            raise TypeError("Sparse data was passed for y, but dense data is required")
        labels = np.asarray(y)
        if labels.ndim == 2 and labels.shape[1] == 1:
            warnings.warn(
                f"A column-vector y was passed when a 1d array was expected: y has the shape {labels.shape}; "
                "y.ravel() "
                "changes it",
                _of_scikit_learn("DataConversionWarning") or UserWarning,
                stacklevel=3,
            )
            labels = labels.ravel()
        if labels.ndim != 1:
            raise ShapeError(f"y should be a 1d array, got an array of shape {labels.shape} instead")
        if len(labels) != count:
            raise ShapeError(
                f"Found input variables with inconsistent numbers of samples: {count} in X, {len(labels)} in "
                "y"
            )
        if labels.dtype.kind == "c":
            raise InvalidValue(f"Complex data not supported: y is of {labels.dtype}")
        if labels.dtype.kind == "f":
            if not np.isfinite(labels).all():
                what = "NaN" if np.isnan(labels).any() else "infinity"
                raise InvalidValue(f"Input y contains {what}: expected labels")
            if (labels != np.floor(labels)).any():
                raise InvalidValue(
                    "Unknown label type: continuous: y has fractions, expected the labels of classes"
                )
        return labels

    def _numbers(self, labels: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """The numbers of labels among the classes."""
        numbers = np.searchsorted(self.classes_, labels)
        numbers[numbers == len(self.classes_)] = 0
        unknown = self.classes_[numbers] != labels
        if unknown.any():
            raise InvalidValue(
                f"y has the label {labels[unknown].tolist()[0]!r}: expected one of {self.classes_.tolist()}"
            )
        return numbers

    def _weights(self, sample_weight: Any, count: int) -> npt.NDArray[Any] | None:
        if sample_weight is None:
            return None
        weights: npt.NDArray[Any] = np.asarray(sample_weight).astype(dtype_name(self.dtype), copy=False)
        if weights.ndim == 0:
            weights = np.full(count, weights)
        if weights.shape != (count,):
            raise ShapeError(
                f"sample_weight has the shape {weights.shape}: expected ({count},), as many as X has rows"
            )
        fine = np.isfinite(weights) & (weights >= 0)
        if not fine.all():
            index = int(np.argmin(fine))
            raise InvalidValue(f"sample_weight[{index}] is {weights[index]}: expected a finite number ≥ 0")
        if not weights.any():
            raise InvalidValue(
                "sample_weight is zero for all examples: expected weights above zero among them"
            )
        return weights

    # ---- scikit-learn's rules

    @classmethod
    def _names(cls) -> list[str]:
        return [name for name in inspect.signature(cls.__init__).parameters if name != "self"]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters of the constructor, by name."""
        return {name: getattr(self, name) for name in self._names()}

    def set_params(self, **params: Any) -> "DannClassifier":
        """Changes parameters of the constructor. Raises `InvalidValue` for another name; nothing is changed
        then."""
        names = self._names()
        for name in params:
            if name not in names:
                raise InvalidValue(
                    f"Invalid parameter {name!r} for estimator {self!r}. Valid parameters are: "
                    f"{', '.join(names)}"
                )
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        defaults = inspect.signature(type(self).__init__).parameters
        changed = (
            f"{name}={value!r}"
            for name, value in self.get_params().items()
            if value != defaults[name].default
        )
        return f"{type(self).__name__}({', '.join(changed)})"

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "network_")

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn asks of an estimator; only it calls this."""
        utils = importlib.import_module("sklearn.utils")
        return utils.Tags(
            estimator_type="classifier",
            target_tags=utils.TargetTags(required=True),
            classifier_tags=utils.ClassifierTags(),
            input_tags=utils.InputTags(),
        )


def _tell(row: dict[str, float], network: Network) -> None:
    """Prints an epoch."""
    told = [f"epoch {row['epoch']:.0f}", f"loss {row['loss']:.5f}"]
    if "validation_error" in row:
        told.append(
            f"validation loss {row['validation_loss']:.5f}, error {100 * row['validation_error']:.2f} %"
        )
    print(", ".join(told), f"({row['seconds']:.1f} s)")


def _feature_names(X: Any) -> npt.NDArray[Any] | None:
    """The names of the columns of a data frame, if they are texts."""
    columns = getattr(X, "columns", None)
    if columns is None or not hasattr(X, "dtypes"):
        return None
    texts = [isinstance(name, str) for name in columns]
    if any(texts) and not all(texts):
        kinds = sorted({type(name).__name__ for name in columns})
        raise TypeError(
            "Feature names are only supported if all input features have string names, but your input has "
            f"{kinds} as "
            "feature name / column name types: X.columns = X.columns.astype(str) makes them texts"
        )
    return np.array(list(columns), dtype=object) if texts and all(texts) else None


def _different_names(names: npt.NDArray[Any], fitted: npt.NDArray[Any]) -> str:
    """How names of features differ, in the words of scikit-learn."""
    text = "The feature names should match those that were passed during fit.\n"
    unseen, missing = sorted(set(names) - set(fitted)), sorted(set(fitted) - set(names))
    for what, some in (
        ("Feature names unseen at fit time", unseen),
        ("Feature names seen at fit time, yet now missing", missing),
    ):
        if some:
            text += (
                f"{what}:\n"
                + "".join(f"- {name}\n" for name in some[:5])
                + ("- ...\n" if len(some) > 5 else "")
            )
    if not unseen and not missing:
        text += "Feature names must be in the same order as they were in fit.\n"
    return text


def _of_scikit_learn(name: str) -> Any:
    """An exception that scikit-learn looks for, where it is loaded; else None."""
    return getattr(sys.modules.get("sklearn.exceptions"), name, None)


def _not_fitted(text: str) -> NotFitted:
    """The error of an estimator that has not learnt anything; also scikit-learn's own, where it is loaded."""
    theirs = _of_scikit_learn("NotFittedError")
    return NotFitted(text) if theirs is None else _both(theirs)(text)


@functools.cache
def _both(theirs: Any) -> type[NotFitted]:
    class NotFittedInScikitLearn(NotFitted, theirs):  # type: ignore[misc]
        def __reduce__(self) -> tuple[Any, ...]:
            return _not_fitted, (str(self),)

    return NotFittedInScikitLearn
