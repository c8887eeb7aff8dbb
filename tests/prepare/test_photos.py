from functools import partial
from pathlib import Path

import drawn_photos
import numpy as np
import pytest
from PIL import Image

from fashionclip.images import difference_hash, load_image
from fashionclip.prepare import photos
from fashionclip.prepare.photos import write_photos

draw = partial(drawn_photos.draw, size=(60, 40))
CASES = Path(__file__).parents[1] / "assets" / "cases"


@pytest.fixture
def source(tmp_path):
    """A photo that fits into 64 pixels as it is."""
    draw(0).save(tmp_path / "source.jpg")
    return tmp_path / "source.jpg"


@pytest.fixture
def target(tmp_path):
    return tmp_path / "set" / "images" / "1.jpg"


def test_small_photo_is_copied_so_that_writing_over_the_source_changes_nothing(source, target):
    [outcome] = write_photos([(source, target)], max_side=64, workers=0)
    before = source.read_bytes()
    assert target.read_bytes() == before
    assert outcome.hash == difference_hash(load_image(source)) and not outcome.error
    source.write_bytes(b"another photo")  # in place, as cp does
    assert target.read_bytes() == before


def test_small_photo_behind_a_symbolic_link_is_copied_itself(source, target, tmp_path):
    (tmp_path / "release").mkdir()
    (tmp_path / "release" / "1.jpg").symlink_to("../source.jpg")
    [outcome] = write_photos([(tmp_path / "release" / "1.jpg", target)], max_side=64, workers=0)
    assert outcome.hash
    assert not target.is_symlink() and target.read_bytes() == source.read_bytes()


def turned():
    exif = Image.Exif()
    exif[photos.EXIF_ORIENTATION] = 6
    return exif


@pytest.mark.parametrize(
    ("file", "image", "options", "size"),
    [
        ("large.jpg", draw(1, size=(300, 200)), {}, (64, 43)),
        ("tall.jpg", draw(1, size=(20, 640)), {}, (2, 64)),
        ("small.png", draw(1), {}, (60, 40)),
        ("grey.jpg", draw(1).convert("L"), {}, (60, 40)),
        ("png_by_another_name.jpg", draw(1), {"format": "PNG"}, (60, 40)),
        ("turned.jpg", draw(1), {"exif": turned()}, (40, 60)),
    ],
)
def test_other_photos_are_written_as_upright_rgb_jpeg(target, tmp_path, file, image, options, size):
    image.save(tmp_path / file, **options)
    [outcome] = write_photos([(tmp_path / file, target)], max_side=64, workers=0)
    with Image.open(target) as written:
        assert (written.format, written.mode, written.size) == ("JPEG", "RGB", size)
        assert not written.getexif()
    expected = load_image(tmp_path / file).resize(size)
    assert np.abs(np.asarray(load_image(target), float) - np.asarray(expected, float)).mean() < 4
    assert outcome.hash == difference_hash(load_image(target))


def test_unreadable_photo_leaves_an_error_and_no_file(source, target, tmp_path):
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(source.read_bytes()[:-100])
    jobs = [(cut, target), (source, target.with_name("2.jpg")), (tmp_path / "none.jpg", target.with_name("3.jpg"))]
    outcomes = write_photos(jobs, max_side=64, workers=0)
    assert [bool(outcome.hash) for outcome in outcomes] == [False, True, False]
    assert "cut.jpg: cannot be decoded" in outcomes[0].error and "none.jpg: no such photo" in outcomes[2].error
    assert [path.name for path in target.parent.iterdir()] == ["2.jpg"]


@pytest.mark.parametrize("name", ["photo.avif", "photo.jpg"])
def test_photos_of_fault_reports_are_left_out_alone_or_written(source, target, tmp_path, name):
    (tmp_path / name).write_bytes((CASES / "avif_damaged" / "zero_tail.avif").read_bytes())
    odd = [*(CASES / "odd_exif").iterdir(), *(CASES / "modes").iterdir(), CASES / "strip" / "line.png"]
    files = [tmp_path / name, source, *odd]
    outcomes = write_photos(
        [(file, target.with_name(f"{n}.jpg")) for n, file in enumerate(files)], max_side=64, workers=0
    )
    assert f"{name}: cannot be decoded" in outcomes[0].error and not any(outcome.error for outcome in outcomes[1:])
    written = sorted(target.parent.iterdir())
    assert len(written) == len(files) - 1 and all(max(load_image(path).size) <= 64 for path in written)


def test_stopped_run_goes_on_where_it_was(target, tmp_path, monkeypatch):
    jobs = []
    for number in range(6):
        draw(number, size=(100, 80)).save(tmp_path / f"{number}.jpg")
        jobs.append((tmp_path / f"{number}.jpg", target.with_name(f"{number}.jpg")))

    def killed_at_the_fourth(photo, **options):
        if len(list(target.parent.glob("*.jpg"))) == 3:
            raise KeyboardInterrupt
        return photo

    with monkeypatch.context() as patch:
        patch.setattr(photos, "fit_within", killed_at_the_fourth)
        with pytest.raises(KeyboardInterrupt):
            write_photos(jobs, max_side=64, workers=0)
    target.with_name(".3.jpg.fashionclip-new").write_text("half a photo")
    outcomes = write_photos(jobs, max_side=64, workers=0)
    # The first three were kept as the stopped run (which did not scale) had left them.
    assert [load_image(path).size for _, path in jobs] == [(100, 80)] * 3 + [(64, 51)] * 3
    assert [outcome.hash for outcome in outcomes] == [difference_hash(load_image(path)) for _, path in jobs]
    assert len(list(target.parent.iterdir())) == 6


def test_no_jobs_is_no_error():
    assert write_photos([], max_side=64) == []
