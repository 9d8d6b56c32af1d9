"""The classifier, by scikit-learn's rules and without it."""

import copy
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import interneuron as inn
from interneuron import DannClassifier
from interneuron.errors import DivisorError, InvalidValue, NotFitted, ShapeError

SMALL: dict[str, Any] = {"hidden": (32,), "inhibitory": 4, "lr": 0.05, "epochs": 20}


def problem(dtype: str = "float64", negative: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Three clouds of points in eight dimensions, and names for them."""
    rng = np.random.default_rng(7)
    numbers = rng.integers(0, 3, 240)
    x = rng.normal(size=(240, 8)) * 0.4 + np.eye(8)[numbers] * 2
    if not negative:
        x = np.abs(x)
    return x.astype(dtype), np.array(["apple", "bread", "cheese"])[numbers]


def bits(classifier: DannClassifier) -> list[bytes]:
    return [array.tobytes() for array in classifier.network_.params().values()]


KINDS = ["dann", "mlp", "layer_norm", "batch_norm", "column_ei"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("update", [None, "sgd", "adamw", inn.sgd(1.0, momentum=0.5)])
def test_it_learns(kind: Any, update: Any) -> None:
    x, y = problem()
    lr = 0.005 if update == "adamw" else 0.05
    classifier = DannClassifier(**{**SMALL, "kind": kind, "update": update, "lr": lr})
    assert classifier.fit(x[:180], y[:180]) is classifier
    assert classifier.score(x[180:], y[180:]) > 0.9
    assert classifier.classes_.tolist() == ["apple", "bread", "cheese"] and classifier.n_features_in_ == 8
    assert classifier.remedy_ == ("root" if kind == "dann" else "none") and classifier.scaler_ is None
    probabilities = classifier.predict_proba(x)
    assert probabilities.dtype == np.float64 and probabilities.shape == (240, 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-12)
    assert (classifier.classes_[probabilities.argmax(axis=1)] == classifier.predict(x)).all()
    assert len(classifier.history_) == 20


@pytest.mark.parametrize("remedy", ["shift", "floor", "root", "subtractive"])
@pytest.mark.parametrize("standardise", ["no", "all", "each"])
def test_remedies(remedy: Any, standardise: Any, tmp_path: Path) -> None:
    x, y = problem()
    x = x * 3 - 4
    classifier = DannClassifier(**SMALL, remedy=remedy, standardise=standardise).fit(x, y)
    assert classifier.remedy_ == remedy and classifier.score(x, y) > 0.9
    first = classifier.network_.shapes[0]
    assert first.divisor == {"shift": "plain", "floor": 0.01, "root": "root", "subtractive": None}[remedy]
    assert classifier.network_.shapes[1].divisor == "plain"
    # What is done to inputs is in checkpoints, too.
    classifier.network_.save(tmp_path / "net")
    loaded = inn.Network.load(tmp_path / "net")
    assert (loaded.scaler is None) == (standardise == "no" and remedy != "shift")
    x32 = x.astype(np.float32)
    scaled = x32 if loaded.scaler is None else loaded.scaler.apply(x32)
    np.testing.assert_allclose(loaded.logits(scaled), classifier._logits(x), atol=1e-5)


def test_the_remedy_is_taken_where_it_is_needed() -> None:
    x, y = problem(negative=False)
    assert DannClassifier(**SMALL).fit(x, y).remedy_ == "none"
    assert DannClassifier(**SMALL, standardise="each").fit(x, y).remedy_ == "root"
    x, y = problem()
    with pytest.raises(
        DivisorError, match="remedy is 'none'; remedy='shift', 'floor', 'root' or 'subtractive'"
    ) as caught:
        DannClassifier(**SMALL, remedy="none").fit(x - 3, y)
    assert caught.value.layer == 0
    with pytest.raises(
        InvalidValue, match="remedy is 'root' for kind 'mlp', which does not divide: expected 'none'"
    ):
        DannClassifier(**SMALL, kind="mlp", remedy="root").fit(x, y)


def test_predictions_below_what_was_learnt_are_told() -> None:
    x, y = problem(negative=False)
    classifier = DannClassifier(**SMALL).fit(x, y)
    with pytest.warns(
        RuntimeWarning, match="divisors are below 1e-8, as inputs are below what the network was trained"
    ):
        classifier.predict(-x)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bits_do_not_depend_on_threads_or_layouts(dtype: str, tmp_path: Path) -> None:
    x, y = problem(dtype)
    want = bits(DannClassifier(**SMALL, n_threads=1, dtype=dtype).fit(x, y))
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    read_only = x.copy()
    read_only.flags.writeable = False
    for other in (x, mapped, read_only, np.asfortranarray(x), x.tolist()):
        assert bits(DannClassifier(**SMALL, n_threads=2, dtype=dtype).fit(other, y)) == want
    assert inn.get_num_threads() >= 1


@pytest.mark.parametrize(
    "labels",
    [
        np.array([3, -7, 100]),
        np.array([True, False, True]),
        np.array([0.0, 2.0, 5.0]),
        np.array(["a", "b", "cc"], object),
    ],
)
def test_labels_of_any_type(labels: np.ndarray) -> None:
    x, names = problem()
    y = labels[np.unique(names, return_inverse=True)[1]]
    classifier = DannClassifier(**SMALL).fit(x, y)
    predicted = classifier.predict(x)
    assert predicted.dtype == y.dtype and (predicted == y).mean() > 0.9


def test_weights() -> None:
    x, y = problem()
    even = DannClassifier(**SMALL).fit(x, y)
    assert bits(DannClassifier(**SMALL).fit(x, y, sample_weight=np.full(240, 2.0))) == bits(even)
    only = DannClassifier(**SMALL).fit(x, y, sample_weight=(y == "bread").astype(int) + 1e-3)
    assert (only.predict(x) == "bread").mean() > (even.predict(x) == "bread").mean()
    assert even.score(x, y, sample_weight=even.predict(x) == y) == 1.0


def test_validation_and_schedule() -> None:
    x, y = problem()
    classifier = DannClassifier(**SMALL, schedule="cosine").fit(
        x[:180], y[:180], validation=(x[180:], y[180:])
    )
    history = classifier.history_
    assert history["validation_error"][-1] == pytest.approx(1 - classifier.score(x[180:], y[180:]))
    assert (np.diff(history["lr"]) < 0).all() and history["lr"][-1] < 0.001
    with pytest.raises(InvalidValue, match="y has the label 'soup': expected one of"):
        classifier.fit(x, y, validation=(x[:1], ["soup"]))


def test_partial_fit() -> None:
    x, y = problem()
    classifier = DannClassifier(**SMALL)
    with pytest.raises(InvalidValue, match="classes is None: expected all labels that there will be"):
        classifier.partial_fit(x, y)
    for _ in range(20):
        for start in range(0, 240, 80):
            part = slice(start, start + 80)
            classifier.partial_fit(x[part], y[part], classes=np.unique(y))
    assert classifier.score(x, y) > 0.9 and len(classifier.history_) == 60
    with pytest.raises(InvalidValue, match="y has the label 'soup'"):
        classifier.partial_fit(x[:1], ["soup"])
    with pytest.raises(InvalidValue, match="expected those of the first call"):
        classifier.partial_fit(x, y, classes=["apple", "bread"])
    with pytest.raises(
        ShapeError, match="X has 7 features, but DannClassifier is expecting 8 features as input"
    ):
        classifier.partial_fit(x[:, :7], y)
    with pytest.raises(InvalidValue, match="schedule is 'linear': expected one of 'constant'"):
        DannClassifier(schedule="linear").partial_fit(x, y, classes=np.unique(y))
    # It goes on where `fit` left off, and `fit` begins anew.
    fitted = DannClassifier(**SMALL).fit(x, y)
    before = bits(fitted)
    assert fitted.partial_fit(x, y).network_.steps == 21 * 7
    assert bits(fitted.fit(x, y)) == before and len(fitted.history_) == 20


def test_pickles_and_copies() -> None:
    x, y = problem()
    classifier = DannClassifier(**SMALL, standardise="each").fit(x, y)
    for other in (pickle.loads(pickle.dumps(classifier)), copy.deepcopy(classifier)):
        assert bits(other) == bits(classifier) and other.get_params() == classifier.get_params()
        np.testing.assert_array_equal(other.predict_proba(x), classifier.predict_proba(x))
        other.partial_fit(x, y)
    classifier.partial_fit(x, y)
    assert bits(other) == bits(classifier)
    assert len(pickle.loads(pickle.dumps(DannClassifier())).get_params()) == 14


def test_parameters() -> None:
    classifier = DannClassifier(lr=0.2, hidden=(10,))
    assert repr(classifier) == "DannClassifier(hidden=(10,), lr=0.2)"
    assert classifier.set_params(lr=0.3, seed=4) is classifier and classifier.get_params()["lr"] == 0.3
    with pytest.raises(InvalidValue, match=r"Invalid parameter 'rate' for estimator DannClassifier\("):
        classifier.set_params(seed=5, rate=1)
    assert classifier.seed == 4


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"lr": -1.0}, InvalidValue, "lr is -1.0: expected a finite number ≥ 0"),
        ({"lr": "fast"}, TypeError, "lr is 'fast': expected a number"),
        ({"epochs": 0}, InvalidValue, "epochs is 0: expected at least 1"),
        ({"batch_size": 0}, InvalidValue, "batch_size is 0: expected at least 1"),
        ({"hidden": (8, 0)}, InvalidValue, r"hidden\[1\] is 0: expected at least 1"),
        (
            {"inhibitory": (3, 3)},
            ShapeError,
            "inhibitory has 2 elements: expected 1, one for each hidden layer",
        ),
        ({"kind": "cnn"}, InvalidValue, "kind is 'cnn': expected one of"),
        ({"update": "lbfgs"}, InvalidValue, "update is 'lbfgs': expected one of 'sgd', 'csgd'"),
        (
            {"schedule": "step"},
            InvalidValue,
            "schedule is 'step': expected one of 'constant', 'linear', 'cosine'",
        ),
        ({"standardise": "yes"}, InvalidValue, "standardise is 'yes': expected one of 'no', 'all', 'each'"),
        ({"remedy": "clip"}, InvalidValue, "remedy is 'clip': expected one of 'auto', 'none'"),
        ({"dtype": "float16"}, InvalidValue, "dtype is 'float16'"),
        ({"seed": -1}, InvalidValue, "seed is -1"),
        ({"n_threads": 0}, InvalidValue, "n_threads is 0: expected from 1 to 1024"),
        ({"hidden": 100}, TypeError, "hidden is 100: expected a sequence of whole numbers"),
        ({"inhibitory": 0}, InvalidValue, r"inhibitory\[0\] is 0: expected at least 1"),
    ],
)
def test_parameters_are_looked_at_in_fit(change: dict[str, Any], error: type[Exception], text: str) -> None:
    x, y = problem()
    classifier = DannClassifier(**{**SMALL, **change})
    with pytest.raises(error, match=text):
        classifier.fit(x, y)


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (lambda x, y: (np.where(x > 2, np.nan, x), y), InvalidValue, "Input X contains NaN"),
        (
            lambda x, y: (x * 1e60, y),
            InvalidValue,
            "Input X contains infinity or a value too large for dtype",
        ),
        (lambda x, y: (x[0], y), ShapeError, "Expected 2D array, got 1D array instead"),
        (lambda x, y: (x[:0], y[:0]), ShapeError, r"Found array with 0 sample\(s\)"),
        (lambda x, y: (x, y[:5]), ShapeError, "inconsistent numbers of samples: 240 in X, 5 in y"),
        (lambda x, y: (x, None), InvalidValue, "requires y to be passed, but the target y is None"),
        (lambda x, y: (x, x[:, 0]), InvalidValue, "Unknown label type: continuous"),
        (
            lambda x, y: (x, y, -np.ones(240)),
            InvalidValue,
            r"sample_weight\[0\] is -1.0: expected a finite number ≥ 0",
        ),
        (lambda x, y: (x, y, np.ones(3)), ShapeError, r"sample_weight has the shape \(3,\)"),
        (lambda x, y: (x, y, np.zeros(240)), InvalidValue, "sample_weight is zero for all examples"),
    ],
)
def test_data_that_cannot_be_learnt(change: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        DannClassifier(**SMALL).fit(*change(*problem()))


def test_integers_are_features() -> None:
    x, y = problem(negative=False)
    whole = (x * 50).astype(np.uint8)
    classifier = DannClassifier(**{**SMALL, "lr": 0.02}, standardise="all").fit(whole, y)
    assert classifier.score(whole, y) > 0.9


def test_verbose_prints_a_line_an_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    x, y = problem()
    DannClassifier(**{**SMALL, "epochs": 2}, verbose=True).fit(x, y, validation=(x, y))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and lines[1].startswith("epoch 2, loss ") and "validation loss" in lines[1]


def test_it_works_without_scikit_learn() -> None:
    code = """
import sys
sys.modules["sklearn"] = None
import numpy as np, interneuron as inn
x, y = np.random.default_rng(0).random((40, 5)), np.arange(40) % 2
classifier = inn.DannClassifier(hidden=(8,), inhibitory=2, epochs=1)
try:
    classifier.predict(x)
except inn.errors.NotFitted as error:
    print(error)
print(classifier.fit(x, y).predict(x).shape)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=25)
    assert done.stdout.splitlines() == ["This DannClassifier is not fitted yet: call fit before", "(40,)"], (
        done.stderr
    )


# ---- with scikit-learn

SUBSETS, WEIGHTS = "check_methods_subset_invariance", "check_sample_weight_equivalence_on_dense_data"


@pytest.mark.filterwarnings("ignore:Estimator DannClassifier does not inherit:UserWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@pytest.mark.parametrize(
    ("keywords", "allowed"),
    [
        ({"dtype": "float64"}, set()),
        ({"dtype": "float64", "remedy": "subtractive"}, set()),
        ({"dtype": "float64", "kind": "mlp"}, set()),
        ({"dtype": "float64", "kind": "layer_norm"}, set()),
        ({"dtype": "float64", "update": "adamw", "lr": 0.003}, set()),
        # What is known of inputs is without weights.
        ({"dtype": "float64", "standardise": "each"}, {WEIGHTS}),
        # Sums over other batches, or over repeated examples, are rounded otherwise, by 1e-7.
        ({"dtype": "float32"}, {SUBSETS, WEIGHTS}),
    ],
    ids=str,
)
def test_scikit_learns_checks(keywords: dict[str, Any], allowed: set[str]) -> None:
    checks = pytest.importorskip("sklearn.utils.estimator_checks")
    classifier = DannClassifier(**{**SMALL, "hidden": (64,), "inhibitory": 8, "epochs": 50, **keywords})
    results = checks.check_estimator(classifier, on_fail=None)
    failed = {it["check_name"]: it["exception"] for it in results if it["status"] == "failed"}
    assert not set(failed) - allowed, failed
    assert len(results) > 50


def test_pipelines_and_searches() -> None:
    pytest.importorskip("sklearn")
    from sklearn.base import clone, is_classifier
    from sklearn.model_selection import GridSearchCV, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = problem()
    classifier = DannClassifier(**SMALL)
    assert is_classifier(classifier) and clone(classifier).get_params() == classifier.get_params()
    pipeline = make_pipeline(StandardScaler(), classifier)
    assert cross_val_score(pipeline, x, y, cv=3).mean() > 0.9
    search = GridSearchCV(pipeline, {"dannclassifier__lr": [0.0, 0.05]}, cv=2).fit(x, y)
    assert search.best_params_ == {"dannclassifier__lr": 0.05}


def test_errors_of_scikit_learn_where_it_is_loaded() -> None:
    exceptions = pytest.importorskip("sklearn.exceptions")
    x, y = problem()
    with pytest.raises(exceptions.NotFittedError, match="This DannClassifier is not fitted yet") as caught:
        DannClassifier().predict(x)
    other = pickle.loads(pickle.dumps(caught.value))
    assert (
        isinstance(other, exceptions.NotFittedError)
        and isinstance(other, NotFitted)
        and str(other) == str(caught.value)
    )
    with pytest.warns(exceptions.DataConversionWarning, match="A column-vector y was passed"):
        DannClassifier(**SMALL).fit(x, y[:, None])


def test_data_frames() -> None:
    pd = pytest.importorskip("pandas")
    x, y = problem()
    frame = pd.DataFrame(x, columns=[f"input {k}" for k in range(8)])
    classifier = DannClassifier(**SMALL).fit(frame, pd.Series(y))
    assert classifier.feature_names_in_.tolist() == list(frame.columns)
    np.testing.assert_array_equal(classifier.predict(frame), DannClassifier(**SMALL).fit(x, y).predict(x))
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        classifier.predict(x)
    with pytest.raises(InvalidValue, match="Feature names unseen at fit time:\n- other"):
        classifier.predict(frame.rename(columns={"input 0": "other"}))


def trial(seed: int, x: np.ndarray, y: np.ndarray) -> tuple[int, Any]:
    """A run of a sweep."""
    with inn.threads(1):
        return seed, DannClassifier(**{**SMALL, "epochs": 1}, seed=seed).fit(x, y)


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_sweeps_of_joblib(backend: str) -> None:
    joblib = pytest.importorskip("joblib")
    # Above 1 MB joblib maps arrays into its workers, where they are read-only.
    x, y = problem("float32")
    x, y = np.tile(x, (150, 1)), np.tile(y, 150)
    runs = joblib.Parallel(n_jobs=2, backend=backend)(joblib.delayed(trial)(seed, x, y) for seed in (1, 2))
    if backend == "loky":
        joblib.externals.loky.get_reusable_executor().shutdown(wait=True)
    for seed, classifier in runs:
        assert bits(classifier) == bits(trial(seed, x, y)[1])
