import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image

from fashionclip.batch import Identities
from fashionclip.data.manifest_tensors import ManifestTensors
from fashionclip.data.relations import IdentityRelation, check_columns
from fashionclip.errors import InputError
from fashionclip.images import load_image
from fashionclip.losses.mining import masks_of
from fashionclip.prepare.deepfashion2 import standin
from fashionclip.prepare.deepfashion2.convert import prepare_deepfashion2_sku
from fashionclip.prepare.deepfashion2.standin import FAULTS, LABELS, write_deepfashion2_fixture

SMALL = ((150, 200),)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """40 source photos of 20 senders, with a table."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    labels = [*LABELS, "Shoes", "Not sure"]
    lines = ["image,sender_id,label,kids"]
    for number in range(40):
        cells = rng.integers(0, 256, (4, 3, 3), dtype=np.uint8)
        Image.fromarray(cells).resize((90, 120)).save(folder / f"{number}.jpg")
        lines.append(f"{number},{number // 2},{labels[number % len(labels)]},False")
    (folder / "images.csv").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def tree(photos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tree") / "df2"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(standin, "SIZES", SMALL)
        patch.setattr(standin, "FAULT_EVERY", 8)
        faults = write_deepfashion2_fixture(
            folder, photos=photos, table=photos / "images.csv", images=300, seed=3, workers=0
        )
    return folder, faults


@pytest.fixture(scope="module")
def dataset(tree):
    return prepare_deepfashion2_sku(
        name="df2",
        source=tree[0],
        root=tree[0].with_name("skus"),
        splits="train validation test",
        only_pairs=True,
        keep_distractors=True,
        dev_split=0.3,
        min_side=16,
        margin=0.0,
        max_side=200,
        check_counts=True,
        seed=0,
        workers=0,
    )


def annotations(folder):
    found = {}
    for file in sorted(folder.rglob("*.json")):
        with suppress(ValueError):
            found[f"{file.parts[-3]}/{file.stem}"] = json.loads(file.read_text())
    return found


def test_the_tree_has_the_release_s_layout_and_fields(tree):
    folder, faults = tree
    counts = {split: len(list((folder / split / "image").iterdir())) for split in ("train", "validation", "test")}
    assert counts == {"train": 210 - 2, "validation": 60 - 1, "test": 30}, "a few photos are missing, as planned"
    assert not (folder / "test" / "annos").exists()
    sound = annotations(folder)["train/000001"]
    assert set(sound) >= {"source", "pair_id", "item1"} and sound["source"] in ("user", "shop")
    assert set(sound["item1"]) == {
        "segmentation", "scale", "viewpoint", "zoom_in", "landmarks", "style", "bounding_box", "category_id",
        "occlusion", "category_name",
    }  # fmt: skip
    assert set(faults) == set(FAULTS)


def test_every_fault_is_found_again(tree, dataset):
    faults, counts = tree[1], dataset.info["counts"]["dropped"]
    for reason in ("image_missing", "annotation_missing", "annotation_unreadable", "annotation_incomplete"):
        assert counts[reason] == faults[reason], reason
    for reason in ("no_items", "no_box", "unknown_category", "bad_label", "box_too_small"):
        assert counts[reason] == faults[reason], reason
    assert counts["box_empty"] == faults["box_empty"] + faults["box_inverted"]
    assert counts["image_unreadable"] >= 1 and counts["unpaired"] > 0 and counts["style_zero"] > 0


def test_skus_have_both_domains_and_pairs_several_styles(dataset):
    manifest = dataset.manifest
    paired = manifest[manifest["paired"]]
    assert (paired.groupby("item_id")["domain"].nunique() == 2).all()
    assert set(manifest.loc[~manifest["paired"], "domain"]) == {"catalog"} and len(paired) > 100
    assert (paired.groupby("group_id")["style"].nunique() > 1).mean() > 0.4
    assert set(manifest["split"]) == {"train", "val", "test"}
    assert manifest["occlusion"].nunique() == manifest["viewpoint"].nunique() == 3


def test_crops_of_a_sku_look_alike(dataset):
    """Nearer in mean colour, which neither mirroring nor turning changes, than crops of other pairs."""
    rows = dataset.manifest[dataset.manifest["paired"] & (dataset.manifest["occlusion"] == 1)]
    colour = np.array([np.asarray(load_image(dataset.root / path), float).mean((0, 1)) for path in rows["path"]])
    distance = np.linalg.norm(colour[:, None] - colour[None], axis=-1)
    item, pair, domain = (rows[name].to_numpy() for name in ("item_id", "group_id", "domain"))
    same = (item[:, None] == item[None]) & (domain[:, None] != domain[None])
    other = pair[:, None] != pair[None]
    assert np.median(distance[same]) < 0.6 * np.median(distance[other])


def test_no_source_photo_is_in_two_splits(photos):
    pools = standin._pools(Path("df2"), photos=photos, table=photos / "images.csv", images=100, seed=0)
    senders = {split: {int(garment.file.stem) // 2 for garment in pool} for split, pool in pools.items()}
    assert all(senders.values()) and sum(map(len, senders.values())) == len(set.union(*senders.values()))
    table = pd.read_csv(photos / "images.csv", dtype=str).set_index("image")["label"]
    for garment in (garment for pool in pools.values() for garment in pool):
        assert garment.category_id in LABELS[table[garment.file.stem]]


def test_processes_write_the_same_bytes(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(standin, "SMALL_JOB", 1)
    trees = []
    for workers in (0, 2):
        folder = tmp_path / str(workers)
        write_deepfashion2_fixture(folder, photos=photos, images=10, seed=1, workers=workers)
        trees.append({str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.*")})
    assert trees[0] == trees[1] and len(trees[0]) == 10 + 9


def test_a_killed_run_leaves_no_half_tree_and_the_same_call_makes_the_whole(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(standin, "SIZES", SMALL)
    child = os.fork()
    if child == 0:
        drawn = []

        def killed(file, *args, **kwargs):
            drawn.append(file)
            if len(drawn) == 3:
                os.kill(os.getpid(), signal.SIGKILL)

        standin._write_picture = killed
        try:
            write_deepfashion2_fixture(tmp_path / "df2", photos=photos, images=20, workers=0)
        finally:
            os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert not (tmp_path / "df2").exists()
    write_deepfashion2_fixture(tmp_path / "df2", photos=photos, images=20, workers=0)
    assert [path.name for path in tmp_path.iterdir()] == ["df2"]
    assert len(list((tmp_path / "df2").glob("*/image/*.jpg"))) == 20


def test_the_command_draws_the_demo_catalogue_s_garments(tmp_path, monkeypatch):
    arguments = ["--to", "df2", "--images", "10"]
    command = [sys.executable, "-m", "fashionclip.prepare.deepfashion2.standin", *arguments]
    done = subprocess.run(command, cwd=tmp_path, env=_path(), text=True, capture_output=True)
    assert done.returncode == 0 and "10 photos" in done.stdout, done.stderr
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["standin", *arguments])
    with pytest.raises(SystemExit, match=r"Remove it or name another one\.$"):
        standin.main()


def _path():
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}


def test_too_few_photos_are_refused(photos, tmp_path):
    for number in range(3):
        (tmp_path / "few").mkdir(exist_ok=True)
        (tmp_path / "few" / f"{number}.jpg").write_bytes((photos / f"{number}.jpg").read_bytes())
    with pytest.raises(InputError, match="photos of 3 groups, expected 10 or more"):
        write_deepfashion2_fixture(tmp_path / "df2", photos=tmp_path / "few", images=10, workers=0)


def test_the_shipped_relation_finds_graded_triplets(dataset):
    cfg = OmegaConf.load(Path(__file__).parents[3] / "configs" / "identity" / "deepfashion2-sku.yaml")
    relation = IdentityRelation(
        item=cfg.item, group=cfg.group, second_view=cfg.second_view, distance=instantiate(cfg.distance)
    )
    rows = ManifestTensors(dataset, coded=relation.columns)
    check_columns(relation, dataset)
    t = relation.plan(rows, rows.of_split("train")).relation
    assert isinstance(t, Identities)
    positives, semipositives, negatives = masks_of(t.item_id, t.group_id, t.view_id, t.hard_id)
    assert (positives.any(1) & semipositives.any(1) & negatives.any(1)).sum() > 50, "anchors of triplets"
    thirds = {round(3 * distance, 4) for distance in t.content_distance[semipositives].tolist()}
    assert thirds <= {1, 2, 3} and len(thirds) > 1
