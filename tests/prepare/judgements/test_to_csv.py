import pandas as pd
import pytest
from drawn_photos import draw

from fashionclip.app.cli import main
from fashionclip.errors import InputError
from fashionclip.manifest import read_dataset
from fashionclip.prepare.judgements.from_csv import prepare_judgements_csv
from fashionclip.prepare.judgements.from_dataset import prepare_judgements_derived
from fashionclip.prepare.judgements.read_csv import COLUMNS
from fashionclip.prepare.judgements.rules import JudgementLimits
from fashionclip.prepare.judgements.to_csv import export_judgements, start_judgements
from fashionclip.prepare.judgements.validate import validate_judgements


def said(dataset):
    """What a dataset judges, whatever it calls its photos."""
    judged = pd.read_parquet(dataset.root / "judgements.parquet")
    judged["photo"] = judged["image_id"].map(dataset.manifest.set_index("image_id")["photo_hash"])
    return sorted(judged[["photo", "text", "label", "split"]].itertuples(index=False, name=None))


def test_what_is_exported_is_read_again_to_the_same_judgements(demo_dataset, tmp_path, capsys):
    derived = prepare_judgements_derived(
        source=demo_dataset.root, root=tmp_path / "derived", matches=2, mismatches=2, workers=0
    )
    file = derived.root / "judgements.parquet"
    judged = pd.read_parquet(file)
    judged["text"] = judged["text"].where(judged.index != 0, "=1+1 is safe to open")
    judged.to_parquet(file)
    for to in (derived.root / "pairs.csv", tmp_path / "elsewhere" / "pairs.csv"):
        elsewhere = to.parent.name == "elsewhere"
        to.parent.mkdir(exist_ok=True)
        main(["judgements", str(derived.root), "--to", str(to)])
        assert ("dataset.image_root=" in capsys.readouterr().out) == elsewhere
        assert "'=1+1 is safe to open" in to.read_text(encoding="utf-8-sig")
        again = prepare_judgements_csv(
            source=to,
            root=tmp_path / "again",
            columns={**COLUMNS, "split": "split"},
            image_root=derived.root if elsewhere else None,
            report=tmp_path / "validation.json",
            limits=JudgementLimits(context_length=77),
            tokenizer=None,
            workers=0,
        )
        assert said(again) == said(derived) and len(said(again)) > 100
    assert set(pd.read_csv(to)["kind"]) == set(judged["kind"])


def test_a_folder_of_photos_begins_a_table(tmp_path, capsys):
    for name in ("shirts/red_cotton-shirt.jpg", "shirts/Blue Shirt (2).PNG", "shoes/1/black.shoes.jpg"):
        (tmp_path / "shop" / name).parent.mkdir(parents=True, exist_ok=True)
        draw(name).save(tmp_path / "shop" / name)
    paths = ["shop/shirts/Blue Shirt (2).PNG", "shop/shirts/red_cotton-shirt.jpg", "shop/shoes/1/black.shoes.jpg"]
    expected = {
        "blank": ["", "", ""],
        "names": ["Blue Shirt 2", "red cotton shirt", "black shoes"],
        "folders": ["shirts", "shirts", "1"],
    }
    for texts, words in expected.items():
        file = tmp_path / f"{texts}.csv"
        main(["judgements", str(tmp_path / "shop"), "--to", str(file), *(["--texts", texts] if any(words) else [])])
        table = pd.read_csv(file, keep_default_na=False)
        assert table["image_path"].tolist() == paths and table["text"].tolist() == words
        assert table["label"].tolist() == ["match" if word else "" for word in words]
        found = validate_judgements(file, workers=0)
        assert found.root == tmp_path and (
            found.errors == {"empty_cell": 3, "one_label": 1} if texts == "blank" else found.left_out.empty
        )
    assert f"dataset=judgements-csv dataset.source={tmp_path / 'blank.csv'} check_only=true" in capsys.readouterr().out


def test_no_table_is_overwritten_and_what_has_no_photos_is_one_message(demo_dataset, tmp_path):
    (tmp_path / "pairs.csv").write_text("filled in by hand")
    with pytest.raises(InputError, match=r"exists, and may have been filled in"):
        start_judgements(demo_dataset.root / "images", tmp_path / "pairs.csv")
    assert (tmp_path / "pairs.csv").read_text() == "filled in by hand"
    with pytest.raises(InputError, match=r"has no judgements\. Make them: .*dataset=judgements-derived"):
        export_judgements(demo_dataset.root, tmp_path / "other.csv")
    (tmp_path / "empty").mkdir()
    for folder, message in (("none", "no such folder"), ("empty", "no photos in it")):
        with pytest.raises(InputError, match=message):
            start_judgements(tmp_path / folder, tmp_path / "other.csv")
    with pytest.raises(SystemExit, match=r"--texts: taken only of a folder of photos"):
        main(["judgements", str(demo_dataset.root), "--to", str(tmp_path / "other.csv"), "--texts", "names"])
    assert read_dataset(demo_dataset.root) and not (tmp_path / "other.csv").exists()
