import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fashionclip import distributed

WORKER, PARITY = (Path(__file__).with_name(name) for name in ("distributed_worker.py", "parity.py"))
LOSSES = [name for name, _, _ in runpy.run_path(str(PARITY))["every_loss"]()]


def of_processes(script, number, folder):
    """What each of some processes has left."""
    processes = [
        subprocess.Popen([sys.executable, script, str(rank), str(number), folder], stderr=subprocess.PIPE, text=True)
        for rank in range(number)
    ]
    try:
        for process in processes:
            errors = process.communicate(timeout=300)[1]
            assert process.returncode == 0, errors
    finally:
        for process in processes:
            process.kill()
    return [torch.load(folder / f"{rank}.pt") for rank in range(number)]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What one process by itself, and each of two together, have computed."""
    alone = runpy.run_path(str(WORKER))["work"](0, 1, tmp_path_factory.mktemp("alone"))
    return [alone, *of_processes(WORKER, 2, tmp_path_factory.mktemp("gloo"))]


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """Likewise of the losses, also in bfloat16, with three processes, each at once and in chunks."""
    precisions = (torch.float32, torch.bfloat16)
    alone = runpy.run_path(str(PARITY))["parity"](0, 1, tmp_path_factory.mktemp("alone"), precisions=precisions)
    return [alone, *(one for both in of_processes(PARITY, 3, tmp_path_factory.mktemp("gloo")) for one in both)]


def test_one_process_is_alone():
    tensor = torch.ones(2, 3, requires_grad=True)
    assert distributed.gather(tensor, total=2) is tensor
    assert (distributed.rank(), distributed.world_size()) == (0, 1)


@pytest.mark.parametrize("processes", [1, 2, 3, 8])
@pytest.mark.parametrize("total", [0, 1, 5, 24])
def test_shares_hold_everything_once_in_order_and_differ_by_one_at_most(processes, total):
    shares = [range(total)[distributed.share(total, process=p, processes=processes)] for p in range(processes)]
    assert [one for share in shares for one in share] == list(range(total))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("case", [0, 1])
def test_uneven_and_empty_shares_are_joined_in_order_and_gradients_come_back(results, case):
    total = (5, 1)[case]
    whole, gradients, ones = (
        list(part) for part in zip(*(result["gathered"][case] for result in results), strict=True)
    )
    assert all(one.flatten().tolist() == list(range(total)) for one in whole)
    assert all(len(one) == total for one in ones)
    assert gradients[0].flatten().tolist() == list(range(1, total + 1))
    assert (gradients[1] + gradients[2]).tolist() == (2 * gradients[0]).tolist(), (
        "summed over the processes that use it"
    )
    assert [float(result["summed"]) for result in results] == [1, 3, 3]


@pytest.mark.parametrize("batch", ["uneven", "one text"])
@pytest.mark.parametrize("loss", LOSSES)
def test_two_processes_learn_as_one_on_the_joint_batch(results, loss, batch):
    found = [result[how] for how in ("parity", "cached") for result in results]
    learn_alike(found, (loss, batch, torch.float32), close=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("batch", ["uneven", "one text"])
@pytest.mark.parametrize("loss", LOSSES)
def test_three_processes_learn_as_one_on_the_joint_batch(three, loss, batch, dtype, close):
    learn_alike(three, (loss, batch, dtype), close=close)


def learn_alike(results, case, *, close):
    (value, gradients), *others = (result[case] for result in results)
    wanted = torch.cat([gradient.flatten() for gradient in gradients.values()])
    if case[1] == "uneven":
        assert value != 0 and wanted.norm() > 1e-3, "there is something to compare"
    for mine, own in others:
        assert own.keys() == gradients.keys()
        got = torch.cat([gradient.flatten() for gradient in own.values()])
        assert (got - wanted).norm() <= close * max(float(wanted.norm()), 1e-3)
        torch.testing.assert_close(mine, value, rtol=close, atol=1e-6)


def test_two_processes_measure_as_one_though_a_sample_is_repeated(results):
    alone, *of_two = (result["metrics"] for result in results)
    assert alone["all"]["image_to_image/queries"] == 7
    apart = alone["seen apart"]
    assert apart["query_to_sku/queries"] == 1 and apart["query_to_sku_seen/queries"] == 1
    some = {name: value for name, value in alone["some queries"].items() if name.endswith("/queries")}
    assert len(some) == 6 and all(value == 2 for value in some.values())
    for values in of_two:
        torch.testing.assert_close(values, alone, atol=0, rtol=0)


@pytest.mark.parametrize("case", ["no text", "no batch", "neither"])
def test_two_processes_measure_though_there_are_no_texts_or_one_sees_no_batch(results, case):
    alone, *of_two = (result["without"][case] for result in results)
    assert alone["image_to_image/queries"] == 7 and ("clip_score" in alone) == (case == "no batch")
    for values in of_two:
        torch.testing.assert_close(values, alone, atol=0, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shares", ["uneven", "none", "no batch"])
def test_two_processes_judge_as_one_whatever_their_shares(results, shares, dtype):
    alone, *of_two = (result["judged"][shares, dtype] for result in results)
    assert alone["judgement/count"] == 20 and len(alone["judgement_id"]) == 15, "7 matches, and 8 mismatches of 13"
    assert {"judgement/auroc/colour", "threshold", "scale", "bias"} <= set(alone)
    for values in of_two:
        torch.testing.assert_close(values, alone, atol=0, rtol=0, equal_nan=True)
