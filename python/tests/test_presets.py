"""The networks that papers compare."""

import pytest

from interneuron import Shape, presets
from interneuron.errors import InvalidValue, ShapeError


def test_shapes() -> None:
    dann = presets.shapes([8, 6, 4], [2, 1])
    assert dann == [Shape.dann(8, 6, 2), Shape.dann(6, 4, 1, relu=False)]
    assert presets.shapes([8, 6, 4], kind="mlp") == [Shape.linear(8, 6), Shape.linear(6, 4, relu=False)]
    assert presets.shapes([8, 6, 4], kind="layer_norm") == [
        Shape.layer_norm(8, 6),
        Shape.linear(6, 4, relu=False),
    ]
    assert presets.shapes([8, 6, 4], kind="batch_norm") == [
        Shape.batch_norm(8, 6),
        Shape.linear(6, 4, relu=False),
    ]
    assert presets.shapes([8, 22, 11, 4], kind="column_ei") == [
        Shape.columns(8, 22, inhibitory_outputs=2),
        Shape.columns(22, 11, inhibitory_inputs=2, inhibitory_outputs=1),
        Shape.columns(11, 4, inhibitory_inputs=1, relu=False),
    ]
    assert presets.shapes([8, 6, 4], kind="column_ei", ratio=1)[0] == Shape.columns(
        8, 6, inhibitory_outputs=3
    )


def test_divisors() -> None:
    assert presets.shapes([8, 6, 4], [2, 1], divisor="root")[1] == Shape.dann(
        6, 4, 1, relu=False, divisor="root"
    )
    first = presets.shapes([8, 6, 4], [2, 1], divisor=[0.01, "plain"])
    assert first == [Shape.dann(8, 6, 2, divisor=0.01), Shape.dann(6, 4, 1, relu=False)]
    only = presets.shapes([8, 6, 4], [2, 1], subtractive=True)
    assert only == presets.shapes([8, 6, 4], [2, 1], divisor=None) and not only[0].divisive


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        (([8], [1]), ShapeError, r"dims is \[8\]: expected the inputs, and the units of at least one layer"),
        (
            ([8, 6, 4], [2]),
            ShapeError,
            "nis has 1 elements: expected 2, one for each layer|nis has 1 element: expected 2",
        ),
        (([8, 0, 4], [2, 1]), InvalidValue, r"dims\[1\] is 0: expected at least 1"),
        (([8, -6, 4], [2, 1]), InvalidValue, r"dims\[1\] is -6: expected at least 1"),
        (([8, 6.0, 4], [2, 1]), TypeError, r"dims\[1\] is 6.0: expected a whole number"),
        (([8, 6, 4], [2, 0]), InvalidValue, r"nis\[1\] is 0: expected at least 1"),
        ((8, [1]), TypeError, "dims is 8: expected a sequence of whole numbers"),
        (([8, 6, 4],), InvalidValue, "nis is None: expected how many interneurons each layer"),
    ],
)
def test_dimensions_that_make_no_network(
    arguments: tuple[object, ...], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        presets.shapes(*arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("keywords", "text"),
    [
        (
            {"kind": "mlp", "nis": [2, 1]},
            "nis is given for a network of kind 'mlp': expected it with 'dann' only",
        ),
        ({"kind": "mlp", "divisor": "root"}, "divisor is given for a network of kind 'mlp'"),
        (
            {"kind": "batch_norm", "subtractive": True},
            "subtractive is given for a network of kind 'batch_norm'",
        ),
        (
            {"kind": "mlp", "ratio": 3},
            "ratio is given for a network of kind 'mlp': expected it with 'column_ei' only",
        ),
        ({"kind": "column_ei", "ratio": 0}, "ratio is 0: expected at least 1"),
        ({"kind": "cnn"}, "kind is 'cnn': expected one of 'dann', 'mlp'"),
        ({"nis": [2, 1], "divisor": "square"}, 'divisor is "square": expected'),
        ({"nis": [2, 1], "divisor": "root", "subtractive": True}, "divisor is 'root' with subtractive=True"),
        ({"nis": [2, 1], "divisor": ["root"]}, "divisor has 1 elements: expected 2"),
    ],
)
def test_arguments_that_do_not_go_together(keywords: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        presets.shapes([8, 6, 4], **keywords)  # type: ignore[arg-type]
