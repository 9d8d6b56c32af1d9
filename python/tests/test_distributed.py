"""Several processes that train one network: DDP, and local steps with averaged parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from script import SCRIPTS, Program

torch = pytest.importorskip("torch")
if not (torch.distributed.is_available() and torch.distributed.is_gloo_available()):
    pytest.skip("PyTorch was built without gloo", allow_module_level=True)

pytestmark = pytest.mark.timeout(120)

# Sums over two or three parts are rounded otherwise than sums over the whole, and steps at a large rate drive
# networks apart that differ in a bit: of parameters after 60 steps, relative to the largest element of each.
F64_TOLERANCE = 1e-9
# Of the losses of ten steps, before they do so in f32.
F32_TOLERANCE = 1e-4
# In nats, of the median loss in the last 100 of 300 steps: those of local steps are those of another network.
LOSS_TOLERANCE = 0.15

Results = list[dict[str, Any]]


@pytest.fixture(scope="module", params=[2, 3])
def ranks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """What the processes of one group return: all cases in one start, which takes most of the time."""
    world, folder = request.param, tmp_path_factory.mktemp("gloo")
    environment = {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    programs = [
        Program(SCRIPTS / "distributed.py", str(folder), str(rank), str(world), **environment)
        for rank in range(world)
    ]
    try:
        said = [program.output(100) for program in programs]
    finally:
        for program in programs:
            program.kill()
    assert [code for code, _, _ in said] == [0] * world, said
    results = [torch.load(Path(folder) / f"{rank}.pt") for rank in range(world)]
    errors = [it["error"] for it in results if "error" in it]
    assert not errors, "\n".join(errors)
    return results


def equal(ranks: Results, case: str) -> bool:
    """Whether all processes ended with the same bits."""
    first = ranks[0][case]["params"]
    return all(torch.equal(first[name], it[case]["params"][name]) for it in ranks for name in first)


def difference(one: dict[str, Any], other: dict[str, Any]) -> float:
    """The largest difference of a parameter, relative to its largest element."""
    pairs = [(one["params"][name], other["params"][name]) for name in one["params"]]
    return max(float((a - b).abs().max() / b.abs().max().clamp(min=1e-3)) for a, b in pairs)


def are_bounded(case: dict[str, Any]) -> bool:
    """Whether weights and gains are ≥ 0."""
    return all(bool((it >= 0).all()) for name, it in case["params"].items() if name.split(".")[-1][0] in "Wg")


@pytest.mark.parametrize(
    "case",
    [
        "ddp",
        "ddp_f64",
        "no_sync",
        "join",
        "adaptive",
        "averaged_by_torch",
        "local",
        "local_f64",
        "local_whole",
    ],
)
def test_replicas_are_equal_to_the_bit_and_bounded(ranks: Results, case: str) -> None:
    assert equal(ranks, case)
    assert are_bounded(ranks[0][case])


@pytest.mark.parametrize(
    ("case", "alone"), [("ddp_f64", "f64 momentum"), ("no_sync", "f64"), ("local_f64", "f64 local")]
)
def test_processes_learn_what_one_process_learns_from_the_same_examples(
    ranks: Results, case: str, alone: str
) -> None:
    assert difference(ranks[0][case], ranks[0]["alone"][alone]) < F64_TOLERANCE


def test_losses_of_ddp_are_those_of_whole_batches(ranks: Results) -> None:
    means = torch.tensor([it["ddp"]["losses"][:10] for it in ranks]).mean(0)
    assert torch.allclose(
        means, torch.tensor(ranks[0]["alone"]["f32"]["losses"][:10]), rtol=0, atol=F32_TOLERANCE
    )


def test_processes_with_unequal_numbers_of_batches_join(ranks: Results) -> None:
    assert [len(it["join"]["losses"]) for it in ranks] == [10 + 5 * rank for rank in range(len(ranks))]


def test_replicas_of_other_kinds_are_equal_to_the_bit_with_their_buffers(ranks: Results) -> None:
    assert equal(ranks, "kinds")


def test_steps_in_the_backward_pass_are_refused_and_change_nothing(ranks: Results) -> None:
    for it in ranks:
        for how in ("made", "backward", "whole"):
            text = it["fused"]["texts"][how]
            assert f"in a process group of {len(ranks)}" in text, how
            assert "local=True" in text
            assert "average_parameters" in text
        assert not it["fused"]["changed"]


def test_local_steps_learn_as_ddp_does(ranks: Results) -> None:
    def last(case: str) -> float:
        return float(torch.tensor([it[case]["losses"][-100:] for it in ranks]).median())

    assert last("ddp") < ranks[0]["ddp"]["losses"][0] / 4
    assert abs(last("local") - last("ddp")) < LOSS_TOLERANCE
    # They are not the same steps.
    assert difference(ranks[0]["local"], ranks[0]["ddp"]) > F32_TOLERANCE


def test_local_whole_steps_have_the_bits_of_local_fused_ones(ranks: Results) -> None:
    for it in ranks:
        assert difference(it["local_whole"], it["local"]) == 0


def test_averages_are_means_in_each_element_type(ranks: Results) -> None:
    assert equal(ranks, "average")
    for name, mean in ranks[0]["average"]["params"].items():
        each = torch.stack([it["average"]["before"][name] for it in ranks])
        assert mean.dtype == each.dtype
        # A unit in the last place or two.
        bound = 4 * torch.finfo(mean.dtype).eps * float(each.abs().max())
        assert torch.allclose(mean, each.mean(0), rtol=0, atol=bound), name
    assert [int(it["average"]["count"]) for it in ranks] == list(range(len(ranks)))
