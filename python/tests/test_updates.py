"""Update rules and learning rates."""

import math
import pickle

import pytest

import interneuron as inn
from interneuron import Schedule, Update
from interneuron.errors import InvalidValue

ADAM = (0.9, 0.999, 1e-8, False)


def test_the_defaults_of_the_crate() -> None:
    assert inn.sgd(0.1) == Update(0.1)
    assert inn.csgd(0.1) == Update(0.1, corrections=True)
    assert inn.adam(0.1) == Update(0.1, adam=ADAM)
    assert inn.adamw(0.1) == Update(0.1, adam=ADAM, decay=0.01, decay_order="decoupled")
    assert inn.eg(0.1) == Update(0.1, exponentiated=0.1)
    assert inn.adamw_eg(0.1) == Update(0.1, exponentiated=0.1, adam=ADAM, decay=0.01, decay_order="decoupled")
    assert inn.natural(0.1) == Update(0.1, natural=(0.02, 2.5e-5, 1e-8, True))


def test_options_come_on_top() -> None:
    assert inn.csgd(0.1, momentum=0.9, clip=1.0) == Update(0.1, corrections=True, momentum=0.9, clip=1.0)
    assert inn.csgd(0.1, corrections=False) == inn.sgd(0.1)
    assert inn.adamw(0.1, decay={"Wex": 0.1}) == Update(
        0.1, adam=ADAM, decay={"Wex": 0.1}, decay_order="decoupled"
    )
    assert inn.adam(0.1, betas=(0.8, 0.9), amsgrad=True, epsilon=1e-6) == Update(
        0.1, adam=(0.8, 0.9, 1e-6, True)
    )
    with pytest.raises(InvalidValue, match="momentum of Wex is 1: expected at least 0 and less than 1"):
        inn.sgd(0.1, momentum=1.0)
    with pytest.raises(InvalidValue, match="lr is NaN: expected a finite number ≥ 0"):
        inn.adamw(math.nan)
    with pytest.raises(TypeError, match="momentun"):
        inn.sgd(0.1, momentun=0.9)  # type: ignore[call-arg]


def test_updates_pickle() -> None:
    update = inn.adamw_eg(0.1, corrections=True, factors={"b": 0.5})
    assert pickle.loads(pickle.dumps(update)) == update
    assert update.with_lr(0.2).lr == 0.2


def rates(schedule: Schedule, steps: int) -> list[float]:
    return [schedule.rate(n) for n in range(1, steps + 1)]


def test_schedules_by_hand() -> None:
    # The cases of the Rust crate.
    assert rates(Schedule.constant(0.5), 3) == [0.5] * 3
    assert rates(Schedule.steps(1.0, 2, 0.5), 5) == [1.0, 1.0, 0.5, 0.5, 0.25]
    assert rates(Schedule.linear(1.0, 4), 6) == [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    down = Schedule.linear(1.0, 6).warmup(2).decay(2)
    assert rates(down, 8) == [0.5, 1.0, 1.0, 1.0, 1.0, 0.5, 0.0, 0.0]
    to_half = rates(Schedule.cosine(1.0, 4).down_to(0.5), 5)
    assert to_half[:3] == pytest.approx([1.0, 0.75 + 0.25 * 0.5**0.5, 0.75], abs=1e-15)
    assert to_half[4] == 0.5
    assert rates(Schedule.cosine(1.0, 2).warmup(2), 3) == [0.5, 1.0, 0.0]
    assert rates(Schedule.steps(1.0, 1, 0.5).warmup(2), 4) == [0.5, 1.0, 1.0, 0.5]
    assert Schedule.cosine(0.1, 1000).warmup(100).rate(50) == 0.05
    with pytest.raises(InvalidValue, match="n is 0: expected at least 1"):
        Schedule.linear(1.0, 4).rate(0)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Schedule.constant(math.nan), "lr is nan: expected a finite number ≥ 0"),
        (lambda: Schedule.steps(0.1, 0, 0.5), "every is 0: expected at least 1"),
        (lambda: Schedule.steps(0.1, 1, 1.5), "factor is 1.5: expected from 0 to 1"),
        (lambda: Schedule.linear(0.1, 0), "total is 0: expected at least 1"),
        (lambda: Schedule.cosine(0.1, 10).warmup(11), "total is 10: expected so much that warm-up and decay"),
        (
            lambda: Schedule.cosine(0.1, 10).warmup(4).decay(7),
            "total is 10: expected so much that warm-up and decay",
        ),
        (
            lambda: Schedule.cosine(0.1, 10).down_to(0.2),
            "lowest is 0.2: expected at least 0 and at most the largest rate",
        ),
        (
            lambda: Schedule.constant(0.1).decay(1),
            "the schedule is constant, which has no decay: expected linear or cosine",
        ),
        (lambda: Schedule.steps(0.1, 1, 0.5).down_to(0.0), "the schedule is steps, which has no decay"),
        (lambda: Schedule(0.1, "sine"), "course is 'sine': expected one of"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_a_schedule(make: object, text: str) -> None:
    with pytest.raises(InvalidValue, match=text):
        make()  # type: ignore[operator]


def test_schedules_are_values() -> None:
    schedule = Schedule.cosine(0.1, 100).warmup(10)
    assert schedule == Schedule.cosine(0.1, 100).warmup(10) and hash(schedule) == hash(
        Schedule.cosine(0.1, 100).warmup(10)
    )
    assert pickle.loads(pickle.dumps(schedule)) == schedule
