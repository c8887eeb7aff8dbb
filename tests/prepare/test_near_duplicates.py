import random

import pytest

from fashionclip.manifest import joined_groups
from fashionclip.prepare.near_duplicates import MAX_DISTANCE, near_pairs

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
