import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fashionclip import distributed

WORKER = Path(__file__).with_name("distributed_worker.py")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What one process by itself, and each of two together, have computed."""
    folder = tmp_path_factory.mktemp("gloo")
    processes = [
        subprocess.Popen([sys.executable, WORKER, str(rank), "2", folder], stderr=subprocess.PIPE, text=True)
        for rank in (0, 1)
    ]
    try:
        alone = runpy.run_path(str(WORKER))["work"](0, 1)
        for process in processes:
            errors = process.communicate(timeout=120)[1]
            assert process.returncode == 0, errors
    finally:
        for process in processes:
            process.kill()
    return [alone, *(torch.load(folder / f"{rank}.pt") for rank in (0, 1))]


def test_one_process_is_alone():
    tensor = torch.ones(2, 3, requires_grad=True)
    assert distributed.gather(tensor) is tensor
    assert (distributed.rank(), distributed.world_size()) == (0, 1)


def test_gather_joins_in_the_order_of_ranks(results):
    assert [result["gathered"].flatten().tolist() for result in results] == [[0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]


@pytest.mark.parametrize("form", ["softmax", "sigmoid"])
@pytest.mark.parametrize("multi_positive", [True, False])
def test_two_processes_learn_as_one_on_the_joint_batch(results, form, multi_positive):
    (loss, gradients), *of_two = (result["losses"][f"{form} multi_positive={multi_positive}"] for result in results)
    torch.testing.assert_close(torch.stack([mine for mine, _ in of_two]).mean(), loss, atol=1e-6, rtol=1e-5)
    assert ("logit_bias" in gradients) == (form == "sigmoid")
    assert all(gradient.abs().max() > 1e-4 for gradient in gradients.values())
    for _, mine in of_two:
        torch.testing.assert_close(mine, gradients, atol=1e-6, rtol=1e-5)


def test_duplicates_on_the_other_process_count(results):
    alone = results[0]["losses"]
    for form in ("softmax", "sigmoid"):
        assert not torch.isclose(alone[f"{form} multi_positive=True"][0], alone[f"{form} multi_positive=False"][0])


def test_two_processes_measure_as_one_though_a_sample_is_repeated(results):
    alone, *of_two = (result["metrics"] for result in results)
    assert alone["all"]["image_to_image/queries"] == 7
    apart = alone["seen apart"]
    assert apart["query_to_sku/queries"] == 1 and apart["query_to_sku_seen/queries"] == 1
    assert apart["query_to_sku/half/a/queries"] == 1
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
