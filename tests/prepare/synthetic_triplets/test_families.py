import json
import pickle

from drawn_photos import draw

from fashionclip.prepare.synthetic_triplets import families
from fashionclip.prepare.synthetic_triplets.held_out import Stock
from fashionclip.prepare.synthetic_triplets.overlays import LogoOverlay, TextOverlay


def write_photos(folder, names):
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        draw(number).save(folder / name)
    return folder


def numbered(folder, count):
    return write_photos(folder, [f"{number:02}.jpg" for number in range(count)])


def test_worker_hands_back_rows_and_no_picture(tmp_path):
    source, overlays = numbered(tmp_path / "photos", 1), {"text": TextOverlay(), "logo": LogoOverlay()}
    rules = families.Rules(
        captions_per_photo=4,
        logo_sets_per_photo=4,
        positives=2,
        semipositives=2,
        max_edited_share=0.5,
        replaced_share=0.5,
    )
    planned = families.plan_variants(
        "00",
        stocks={"text": [Stock(("One", "Two", "Three", "Four"))], "logo": [Stock(overlays["logo"].classes)]},
        logos_per_photo=(1, 2),
        rules=rules,
        seed=0,
    )
    photo = families.BasePhoto("00", source / "00.jpg", planned)
    (tmp_path / "set" / "images").mkdir(parents=True)
    done = families.draw_variants(
        photo, folder=tmp_path / "set", overlays=overlays, max_side=320, keep_in_centre_crop=True, seed=0
    )
    assert len(done["rows"]) == len(planned) == 40
    assert json.loads(json.dumps(done)) == done
    assert len(pickle.dumps((photo, done))) < 1_000 * len(planned)
