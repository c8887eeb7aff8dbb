import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageChops, ImageColor, ImageDraw

from fashionclip.errors import InputError
from fashionclip.prepare.synthetic_triplets.overlays import (
    Content,
    LogoOverlay,
    NotDrawnError,
    TextOverlay,
    contrast_ratio,
    inset,
    luminance,
    safe_box,
)
from fashionclip.prepare.synthetic_triplets.text_layout import find_fonts, has_glyphs

SANS = next(font for font in find_fonts(None) if font.endswith("DejaVuSans.ttf"))
CAPTION = Content("Repair it, do not bin it", "Repair it, do not bin it")
SHAPES = [(240, 320), (400, 150), (200, 200)]


def text_overlay(**changes):
    return TextOverlay(**{"colours": ["white", "black", "red", "#00ffff"], "min_size": 8, "outline": 0.0, **changes})


def logo_overlay(**changes):
    return LogoOverlay(**{"min_size": 10, **changes})


def logos(*names):
    return Content(", ".join(names), ", ".join(names), logos=names)


def changed(before, after):
    box = ImageChops.difference(before, after).getbbox()
    assert box is not None
    return box


def within(inner, outer):
    return inner[0] >= outer[0] and inner[1] >= outer[1] and inner[2] <= outer[2] and inner[3] <= outer[3]


def write_logo(path, *, size, margin=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    board = Image.new("RGBA", (size[0] + 2 * margin, size[1] + 2 * margin))
    board.paste("red", (margin, margin, margin + size[0], margin + size[1]))
    board.save(path)


def test_font_is_used_only_for_what_it_can_show(tmp_path):
    assert has_glyphs(SANS, "Café, 50 % now!")
    assert not has_glyphs(SANS, "New 服")
    symbols = Path(SANS).with_name("STIXSizFiveSymReg.ttf")
    for font in (SANS, symbols):
        shutil.copy(font, tmp_path)
    overlay, photo = text_overlay(fonts=tmp_path), Image.new("RGB", (240, 320), "navy")
    used = {
        overlay.draw(photo.copy(), CAPTION, safe=(0, 40, 240, 280), rng=random.Random(seed)).font for seed in range(9)
    }
    assert len(overlay.files) == 2 and used == {"DejaVuSans"}
    with pytest.raises(NotDrawnError, match="none of 2 fonts") as error:
        overlay.draw(photo, Content("服", "服"), safe=(0, 0, 240, 320), rng=random.Random(0))
    assert error.value.reason == "no_glyphs"


@pytest.mark.parametrize("size", SHAPES)
@pytest.mark.parametrize("crop", [True, False])
@pytest.mark.parametrize("outline", [0.0, 0.1])
def test_text_stays_in_its_box_and_the_box_in_the_safe_box(size, crop, outline):
    photo, safe = Image.new("RGB", size, "#205080"), safe_box(size, keep_in_centre_crop=crop)
    overlay = text_overlay(outline=outline)
    for seed in range(30):
        canvas = photo.copy()
        drawn = overlay.draw(canvas, CAPTION, safe=safe, rng=random.Random(seed))
        assert within(drawn.box, inset(safe, 0.03))
        ink = changed(photo, canvas)
        assert within(ink, drawn.box)
        assert all(abs(a - b) <= 2 for a, b in zip(ink, drawn.box, strict=True)), "the box is tight"


def test_safe_box_is_what_a_centre_crop_keeps():
    assert safe_box((240, 320), keep_in_centre_crop=True) == (0, 40, 240, 280)
    assert safe_box((401, 150), keep_in_centre_crop=True) == (125, 0, 275, 150)
    assert safe_box((401, 150), keep_in_centre_crop=False) == (0, 0, 401, 150)


def test_default_text_is_large():
    photo = Image.new("RGB", (240, 320), "#205080")
    for caption in ("Team Turtleneck", "Tonight we wear sequins", "Take the bag, leave the rest"):
        for seed in range(20):
            drawn = text_overlay().draw(
                photo.copy(), Content(caption, caption), safe=(0, 40, 240, 280), rng=random.Random(seed)
            )
            assert drawn.size >= 15
            assert drawn.box[3] - drawn.box[1] <= 0.3 * 240


def test_wcag_figures():
    assert contrast_ratio(luminance((255, 255, 255)), luminance((0, 0, 0))) == pytest.approx(21)
    assert contrast_ratio(luminance((0x76, 0x76, 0x76)), luminance((255, 255, 255))) == pytest.approx(4.54, abs=0.01)


def test_colour_can_be_seen_on_what_it_covers():
    photo = Image.linear_gradient("L").resize((240, 320)).convert("RGB")  # black above, white below
    overlay = text_overlay(colours=["white", "black", "red", "gray", "navy", "yellow"], min_contrast=4.0)
    used = set()
    for seed in range(60):
        drawn = overlay.draw(photo.copy(), CAPTION, safe=(0, 0, 240, 320), rng=random.Random(seed))
        behind = luminance(np.asarray(photo.crop(drawn.box)))
        assert contrast_ratio(luminance(ImageColor.getrgb(drawn.colour)), behind) >= 4.0
        used.add(drawn.colour)
    assert used == {"white", "black", "navy", "yellow"}, "red and grey have too little on any grey"


def test_another_place_is_tried_where_no_colour_is_seen_and_tries_end():
    photo = Image.new("RGB", (200, 200), "white")
    overlay = text_overlay(colours=["white"])
    with pytest.raises(NotDrawnError) as error:
        overlay.draw(photo, CAPTION, safe=(0, 0, 200, 200), rng=random.Random(0))
    assert error.value.reason == "no_colour_seen"
    photo.paste("black", (0, 100, 200, 200))
    boxes = [overlay.draw(photo.copy(), CAPTION, safe=(0, 0, 200, 200), rng=random.Random(k)).box for k in range(20)]
    assert all((box[1] + box[3]) / 2 > 90 for box in boxes)


def test_outline_sets_off_letters_from_what_is_like_them():
    photo = Image.new("RGB", (200, 200), "navy")
    overlay = text_overlay(colours=["navy"], min_contrast=1.0, outline=0.06)
    drawn = overlay.draw(photo, CAPTION, safe=(0, 0, 200, 200), rng=random.Random(0))
    light = luminance(np.asarray(photo.crop(drawn.box)))
    assert drawn.colour == "navy" and light > 0.1, "white around dark letters"


def test_places_are_shares_of_the_room_left():
    overlay = text_overlay(places=[[0, 0], [1, 1]], padding=0.0)
    photo = Image.new("RGB", (200, 300), "navy")
    boxes = [overlay.draw(photo.copy(), CAPTION, safe=(0, 0, 200, 300), rng=random.Random(k)).box for k in range(20)]
    assert {box[:2] == (0, 0) for box in boxes} == {box[2:] == (200, 300) for box in boxes} == {True, False}
    assert all(box[:2] == (0, 0) or box[2:] == (200, 300) for box in boxes)


def test_photo_too_small_for_the_smallest_overlay():
    photo = Image.new("RGB", (30, 30), "navy")
    for overlay, content in ((text_overlay(), CAPTION), (logo_overlay(min_size=24), logos("star"))):
        with pytest.raises(NotDrawnError) as error:
            overlay.draw(photo, content, safe=(0, 0, 30, 30), rng=random.Random(0))
        assert error.value.reason == "too_small"


@pytest.mark.parametrize("size", SHAPES)
def test_logos_lie_apart_within_the_safe_box(size):
    photo, safe, overlay = Image.new("RGB", size, "#205080"), safe_box(size, keep_in_centre_crop=True), logo_overlay()
    for seed in range(30):
        canvas = photo.copy()
        drawn = overlay.draw(canvas, logos("star", "heart"), safe=safe, rng=random.Random(seed))
        (first, one), (second, other) = drawn.logos
        assert (first, second) == ("star", "heart")
        assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
        assert within(drawn.box, inset(safe, 0.03)) and within(one, drawn.box) and within(other, drawn.box)
        assert within(changed(photo, canvas), drawn.box)
        assert 0.9 * 0.25 * min(size) - 2 <= drawn.size <= 0.4 * min(size)
        blank = ImageChops.difference(photo, canvas)
        ImageDraw.Draw(blank).rectangle((one[0], one[1], one[2] - 1, one[3] - 1), fill=0)
        ImageDraw.Draw(blank).rectangle((other[0], other[1], other[2] - 1, other[3] - 1), fill=0)
        assert blank.getbbox() is None


def test_logos_of_a_folder_keep_their_shape_or_not(tmp_path):
    write_logo(tmp_path / "wide.png", size=(80, 20), margin=15)
    write_logo(tmp_path / "brand" / "tall.png", size=(20, 80))
    photo = Image.new("RGB", (400, 400), "white")
    for keep in (True, False):
        overlay = logo_overlay(folder=tmp_path, per_photo=[1, 1], keep_aspect=keep)
        assert sorted(overlay.classes) == ["brand/tall", "wide"]
        shapes = []
        for seed in range(10):
            canvas = photo.copy()
            box = overlay.draw(canvas, logos("wide"), safe=(0, 0, 400, 400), rng=random.Random(seed)).box
            assert changed(photo, canvas) == box, "transparent margins are no part of it"
            shapes.append((box[2] - box[0]) / (box[3] - box[1]))
        assert all(3.5 < shape < 4.5 for shape in shapes) == keep


@pytest.mark.parametrize("keep", [True, False])
def test_given_boxes(keep):
    overlay = logo_overlay(positions=[[0, 0, 0.5, 0.25], [0.5, 0.5, 1, 1]], keep_aspect=keep, padding=0.0)
    seen = set()
    for seed in range(20):
        photo = Image.new("RGB", (200, 400), "white")
        drawn = overlay.draw(photo, logos("star", "bolt"), safe=(0, 0, 200, 400), rng=random.Random(seed))
        given = [(0, 0, 100, 100), (100, 200, 200, 400)]
        boxes = sorted(box for _, box in drawn.logos)
        assert within(boxes[0], given[0]) and within(boxes[1], given[1])
        assert (boxes == given) == (not keep)
        seen.add(drawn.logos[0][1][0] < 100)
    assert seen == {True, False}, "each logo takes either box"


def test_a_logo_has_its_own_position_by_the_name_of_its_class_or_folder(tmp_path):
    for name in ("age/7", "age/18", "age/old/3", "shop"):
        write_logo(tmp_path / f"{name}.png", size=(40, 40))
    positions = {"age": [0, 0, 0.5, 0.25], "age/old": [0.5, 0, 1, 0.25], "shop": [20, 200, 120, 260]}
    overlay = logo_overlay(folder=tmp_path, positions=positions, keep_aspect=False, padding=10, per_photo=[1, 3])
    assert overlay.position_of == {"age/18": "age", "age/7": "age", "age/old/3": "age/old", "shop": "shop"}
    photo, safe = Image.new("RGB", (220, 420), "white"), (0, 0, 220, 420)
    drawn = overlay.draw(photo, logos("shop", "age/old/3", "age/7"), safe=safe, rng=random.Random(0))
    assert drawn.logos == (
        ("shop", (30, 210, 130, 270)),  # pixels from the corner within the padding
        ("age/old/3", (110, 10, 210, 110)),
        ("age/7", (10, 10, 110, 110)),
    )
    for size, reason in (((220, 240), "no_place"), ((30, 30), "too_small")):
        with pytest.raises(NotDrawnError) as error:
            overlay.draw(Image.new("RGB", size), logos("shop", "age/7"), safe=(0, 0, *size), rng=random.Random(0))
        assert error.value.reason == reason
    assert logo_overlay(folder=tmp_path, positions={"age": [0, 0, 1, 1]}, per_photo=[1, 1]).classes == (
        "age/18", "age/7", "age/old/3",
    )  # fmt: skip


def test_scales_are_each_logos_own_in_shares_or_pixels():
    overlay = logo_overlay(scale=[0.3, 0.4], scales={"star": [0.1, 0.15], "heart": [20, 30]}, padding=20)
    for side in (240, 440):
        sizes = {name: set() for name in ("star", "heart", "disc")}
        for seed in range(30):
            for name, drawn in sizes.items():
                canvas = Image.new("RGB", (side, side))
                [(_, box)] = overlay.draw(canvas, logos(name), safe=(0, 0, side, side), rng=random.Random(seed)).logos
                assert within(box, (20, 20, side - 20, side - 20))
                drawn.add(max(box[2] - box[0], box[3] - box[1]))
        room = side - 40
        assert 0.1 * room - 1 <= min(sizes["star"]) < max(sizes["star"]) <= 0.15 * room
        assert 19 <= min(sizes["heart"]) < max(sizes["heart"]) <= 30
        assert 0.3 * room - 1 <= min(sizes["disc"]) < max(sizes["disc"]) <= 0.4 * room


def test_text_within_a_block_of_pixels():
    overlay, photo = text_overlay(max_width=100, max_height=30, padding=25), Image.new("RGB", (400, 300), "navy")
    for seed in range(20):
        box = overlay.draw(photo.copy(), CAPTION, safe=(0, 0, 400, 300), rng=random.Random(seed)).box
        assert within(box, (25, 25, 375, 275)) and box[2] - box[0] <= 100 and box[3] - box[1] <= 30
    wide = text_overlay(max_width=5000, max_height=5000, padding=0)
    assert within(wide.draw(photo, CAPTION, safe=(50, 0, 350, 300), rng=random.Random(0)).box, (50, 0, 350, 300))


def test_unusable_settings_are_errors_with_a_remedy(tmp_path):
    (tmp_path / "fonts").mkdir()
    (tmp_path / "fonts" / "broken.ttf").write_text("no font")
    write_logo(tmp_path / "two" / "a.png", size=(9, 9))
    write_logo(tmp_path / "two" / "a.webp", size=(9, 9))
    (tmp_path / "clear").mkdir()
    Image.new("RGBA", (9, 9)).save(tmp_path / "clear" / "a.png")
    cases = [
        (text_overlay, {"fonts": tmp_path / "none"}, r"no \.ttf or \.otf file .*Give a folder"),
        (text_overlay, {"fonts": tmp_path / "fonts"}, r"broken\.ttf: no font that can be read"),
        (text_overlay, {"colours": ["blurple"]}, "colours: unknown color.*Give CSS names"),
        (text_overlay, {"colours": []}, "expected a colour"),
        (text_overlay, {"scale": [0.9, 1.1]}, r"text\.scale: got \[0\.9, 1\.1\], expected"),
        (logo_overlay, {"folder": tmp_path / "two"}, "a second logo 'a'.*Rename"),
        (logo_overlay, {"folder": tmp_path / "clear"}, "every pixel is transparent"),
        (logo_overlay, {"folder": tmp_path / "none"}, "0 logos for per_photo.*Add logos"),
        (logo_overlay, {"classes": ["star", "sta"]}, r"no \['sta'\] .*'triangle'"),
        (logo_overlay, {"classes": ["star", "disc"]}, "2 logos for .* more logos than that"),
        (logo_overlay, {"positions": [[0, 0, 1, 1]]}, r"positions: got 1, at least 2"),
        (logo_overlay, {"positions": [[0, 0, 1]] * 2}, r"positions: got \[0, 0, 1\] for 0, expected \[left"),
        (logo_overlay, {"positions": {"star": [0.5, 0, 0.4, 1]}}, r"positions: got \[0\.5.*\] for 'star'"),
        (logo_overlay, {"positions": {"sta": [0, 0, 1, 1]}}, r"\['sta'\] in scales or positions name no logo"),
        (logo_overlay, {"scales": {"moon": [0.1, 0.2]}}, r"\['moon'\] in scales or positions name no logo"),
        (logo_overlay, {"scales": {"star": [0.1, 20]}}, r"scales\.star: got \[0\.1, 20\], expected.*or both pixels"),
        (logo_overlay, {"positions": {"star": [0, 0, 1, 1]}, "classes": ["star", "disc", "bolt"]}, "1 logos for"),
        (
            logo_overlay,
            {"positions": [[0, 0, 0.5, 1], [0.5, 0, 1, 1]], "scales": {"star": [0.1, 0.2]}},
            "no scales beside them",
        ),
        (logo_overlay, {"padding": -0.1}, r"padding=-0\.1: expected 0 or more"),
        (text_overlay, {"padding": -2}, "padding >= 0"),
    ]
    for build, changes, message in cases:
        with pytest.raises(InputError, match=rf"(?s){message}"):
            build(**changes)
