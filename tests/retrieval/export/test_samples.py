from dataclasses import replace

import numpy as np
import pytest

from fashionclip.images import UnreadableImageError
from fashionclip.retrieval.export.samples import AWKWARD, drawn_samples, lowest_cosine, samples_of


def test_samples_are_of_the_test_split(demo_dataset):
    test = demo_dataset.manifest[demo_dataset.manifest["split"] == "test"]
    samples = samples_of(demo_dataset, decode_size=64, count=6)
    assert len(samples.photos) == 6 and samples.source == "the test split of demo"
    assert set(samples.texts) - set(AWKWARD) <= set(test["text"]) and samples.texts[-len(AWKWARD) :] == [*AWKWARD]
    assert len(samples_of(demo_dataset, decode_size=64, count=10_000).photos) == len(test)


def test_without_a_test_split_all_rows_serve(demo_dataset):
    dataset = replace(demo_dataset, manifest=demo_dataset.manifest.assign(split="train", text=""))
    samples = samples_of(dataset, decode_size=64, count=3)
    assert len(samples.photos) == 3 and samples.texts == [*AWKWARD] and samples.source == "demo"


def test_unreadable_photos_are_passed_over_unless_all_are(demo_dataset, tmp_path):
    gone = demo_dataset.manifest.copy()
    first = gone.index[gone["split"] == "test"][0]
    gone.loc[first, "path"] = "images/gone.jpg"
    assert len(samples_of(replace(demo_dataset, manifest=gone), decode_size=64, count=4).photos) == 3
    with pytest.raises(UnreadableImageError, match="no such photo"):
        samples_of(replace(demo_dataset, root=tmp_path), decode_size=64)


def test_drawn_samples_are_always_the_same():
    one, other = drawn_samples(count=2), drawn_samples(count=2)
    assert one.texts == other.texts and [p.tobytes() for p in one.photos] == [p.tobytes() for p in other.photos]


@pytest.mark.parametrize(
    ("other", "cosine"),
    [([[3.0, 0.0], [0.0, 1.0]], 1.0), ([[1.0, 0.0], [3.0, 4.0]], 0.8), ([[1.0, 0.0], [0.0, -1.0]], -1.0)],
)
def test_the_lowest_cosine(other, cosine):
    assert lowest_cosine(np.eye(2), np.array(other)) == pytest.approx(cosine)


@pytest.mark.parametrize("other", [np.eye(3)[:2], np.full((2, 2), np.nan), np.eye(2)[:1]])
def test_what_cannot_be_compared_is_no_number(other):
    assert np.isnan(lowest_cosine(np.eye(2), other))
