import random
import tracemalloc

import numpy as np
import pytest
from drawn_photos import draw_garment, on_wider_canvas
from PIL import Image, ImageOps

from fashionclip.images import difference_hash, twin_hash
from fashionclip.manifest import joined_groups
from fashionclip.prepare.near_duplicates import LISTED, MAX_DISTANCE, TWIN_DISTANCE, near_pairs, twins_across

BITS = 256


def slow_pairs(hashes, max_distance):
    pairs = []
    for i in range(len(hashes)):
        for j in range(i + 1, len(hashes)):
            if (int(hashes[i], 16) ^ int(hashes[j], 16)).bit_count() <= max_distance:
                pairs.append((i, j))
    return pairs


def flipped(value, bits):
    for bit in bits:
        value ^= 1 << bit
    return value


def as_hashes(values):
    return [f"{value:064x}" for value in values]


@pytest.mark.parametrize("max_distance", [0, 1, MAX_DISTANCE, 7])
def test_random_clusters_against_the_slow_oracle(max_distance):
    rng = random.Random(max_distance)
    centres = [rng.getrandbits(1 << 8) for _ in range(25)]
    values = {flipped(rng.choice(centres), rng.sample(range(BITS), rng.randint(0, 8))) for _ in range(250)}
    hashes = as_hashes(sorted(values, key=lambda _: rng.random()))
    expected = slow_pairs(hashes, max_distance)
    assert bool(expected) == (max_distance > 0)
    assert near_pairs(hashes, max_distance=max_distance) == expected


@pytest.mark.parametrize("bands", [[0, 1, 2, 3], [0, 1, 2, 4], [1, 2, 3, 4], [2, 2, 2, 2], [0, 0, 3, 3]])
@pytest.mark.parametrize("background", ["white", "black", "random"])
def test_four_bits_apart_is_near_and_five_is_not_wherever_they_lie(bands, background):
    rng = random.Random(0)
    value = {"white": 0, "black": 2**BITS - 1, "random": rng.getrandbits(BITS)}[background]
    # Flipping a bit of four bands leaves one band equal; the fifth bit may fall into any band, also the last equal one.
    four = [band + 5 * (7 + place) for place, band in enumerate(bands)]
    five = [[*four, last] for last in range(5)]
    assert near_pairs(as_hashes([value, flipped(value, four)])) == [(0, 1)]
    for bits in five:
        assert near_pairs(as_hashes([value, flipped(value, bits)])) == []


def test_repeated_hashes_join_the_same_groups_as_all_their_pairs():
    rng = random.Random(0)
    centre = rng.getrandbits(BITS)
    values = [flipped(centre, rng.sample(range(BITS), rng.choice([0, 1, 4, 9]))) for _ in range(40)]
    hashes = as_hashes([rng.choice(values) for _ in range(120)])
    ids = [str(row) for row in range(120)]
    pairs = near_pairs(hashes)
    assert pairs == sorted(set(pairs)) and set(pairs) <= set(slow_pairs(hashes, MAX_DISTANCE))
    assert joined_groups(ids, pairs=pairs) == joined_groups(ids, pairs=slow_pairs(hashes, MAX_DISTANCE))


def test_thousands_of_equal_hashes_give_a_chain():
    assert near_pairs(["0" * 64] * 5000) == [(i, i + 1) for i in range(4999)]


@pytest.mark.parametrize("hashes", [[], ["0" * 64]])
def test_fewer_than_two_hashes_have_no_pair(hashes):
    assert near_pairs(hashes) == []


def found(*photos, splits=("train", "test")):
    return twins_across("abc", [twin_hash(photo) for photo in photos], splits)


@pytest.mark.parametrize("seed", range(4))
def test_one_picture_on_another_canvas_is_a_twin_which_the_hash_that_splits_does_not_see(seed):
    photo = draw_garment(seed)
    wider = on_wider_canvas(photo)
    assert near_pairs([difference_hash(photo), difference_hash(wider)]) == []
    assert found(photo, wider)["pairs"] == [["b", "a"]]
    for other in (draw_garment(seed + 100), ImageOps.mirror(photo), photo.resize((220, 110)), Image.new("RGB", (9, 9))):
        assert found(photo, other)["pairs"] == []


def test_the_same_garment_in_another_colour_is_no_twin():
    grey_alike = [draw_garment(3, colour=colour) for colour in ((220, 60, 60), (20, 150, 20))]
    assert found(*grey_alike)["pairs"] == []
    assert found(grey_alike[0], grey_alike[0])["photos"] == {"val": 0, "test": 1}


def test_twins_are_counted_of_val_and_test_and_against_earlier_splits_alone():
    one, other = draw_garment(1), draw_garment(2)
    assert found(one, one, splits=("train", "train"))["photos"] == {"val": 0, "test": 0}
    assert found(one, other, one, splits=("test", "train", "val")) == {
        "hash": "signs of a 16x16 DCT of what is not background, with colours and shape",
        "max_distance": 12,
        "photos": {"val": 0, "test": 1},
        "pairs": [["a", "c"]],
    }
    assert found(one, one, one, splits=("train", "val", "test"))["photos"] == {"val": 1, "test": 1}
    assert twins_across([], [], [])["photos"] == {"val": 0, "test": 0}


def test_flat_photos_are_alike_by_their_colour():
    white, red = Image.new("RGB", (90, 90), "white"), Image.new("RGB", (90, 90), "red")
    assert found(white, white)["photos"]["test"] == 1 and found(white, red)["photos"]["test"] == 0


def test_many_hashes_against_the_slow_oracle_in_little_memory():
    rng = np.random.default_rng(0)
    hashes = [rng.integers(0, 256, 80, dtype=np.uint8).tobytes() + np.float32(0).tobytes() for _ in range(40)]
    near = []
    for base in hashes * 30:
        bits = np.unpackbits(np.frombuffer(base[:32], np.uint8))
        bits[rng.choice(256, rng.integers(3, 10), replace=False)] ^= 1
        near.append(np.packbits(bits).tobytes() + base[32:])
    splits = rng.choice(["train", "val", "test"], len(near)).tolist()
    ids = [str(number) for number in range(len(near))]
    values = [int.from_bytes(one[:32], "big") for one in near]
    earlier = {"val": {"train"}, "test": {"train", "val"}}
    expected = {
        split: sum(
            any((values[i] ^ values[j]).bit_count() <= TWIN_DISTANCE and near[i][32:] == near[j][32:]
                for j in range(len(near)) if splits[j] in before)
            for i in range(len(near)) if splits[i] == split
        )
        for split, before in earlier.items()
    }  # fmt: skip
    assert 0 < expected["val"] < splits.count("val")
    result = twins_across(ids, near, splits)
    assert result["photos"] == expected and len(result["pairs"]) == LISTED

    tracemalloc.start()  # 8 million pairs
    alike = twins_across([""] * 6000, [hashes[0]] * 6000, ["train"] * 4000 + ["test"] * 2000)
    assert alike["photos"]["test"] == 2000 and tracemalloc.get_traced_memory()[1] < 8e6
    tracemalloc.stop()
