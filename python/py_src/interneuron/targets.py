"""What the outputs of a network are to be, and so the loss."""

from typing import Any, Literal

from . import _core
from ._types import Array


class Target(_core.Target):
    """What the outputs o [B, K] are to be, and so the loss L = Σ w ℓ / Σ w, a mean over examples or over
    elements:

        labels, probabilities   ℓ_b  = −Σ_k t ln p,  p = softmax(o)
        values                  ℓ_bk = (o − y)²
        binary                  ℓ_bk = max(o, 0) − o y + ln(1 + e^−|o|)

    `y` are labels [B] of an integer type, from 0; or probabilities [B, K], values [B, K], or binary [B, K]
    from 0 to 1, of the element type of the network. `weights` [B] ≥ 0 are those of the examples, 1 if not
    given. A `mask` [B, K] has the weights of elements, for values and binary. `smoothing` q, from 0 to 1, is
    for labels and probabilities: t = (1−q)·y + q/K.

    For a network with recurrent layers all of them have steps before examples: labels and weights [T, B],
    the others [T, B, K].

    The arrays are held, not copied. What is wrong with them is said when a network takes them: `ShapeError`,
    `InvalidValue`, or `TypeError` for another element type.
    """

    kind: Literal["labels", "probabilities", "values", "binary"]
    y: Array
    weights: Array | None
    mask: Array | None
    smoothing: float

    def __new__(
        cls,
        kind: Literal["labels", "probabilities", "values", "binary"],
        y: Array,
        *,
        weights: Array | None = None,
        mask: Array | None = None,
        smoothing: float = 0.0,
    ) -> "Target":
        self = super().__new__(cls, kind, y, weights=weights, mask=mask, smoothing=smoothing)
        self.kind, self.y, self.weights, self.mask, self.smoothing = kind, y, weights, mask, smoothing
        return self

    def rows(self, index: Any, *, axis: Literal[0, 1] = 0) -> "Target":
        """The target of some of the examples: a slice of them, or their numbers. `axis` is 1 where steps come
        before examples."""
        some = (slice(None), index) if axis == 1 else index
        weights = None if self.weights is None else self.weights[some]
        mask = None if self.mask is None else self.mask[some]
        return Target(self.kind, self.y[some], weights=weights, mask=mask, smoothing=self.smoothing)

    def __getnewargs_ex__(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (self.kind, self.y), {"weights": self.weights, "mask": self.mask, "smoothing": self.smoothing}
