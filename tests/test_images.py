import io
import os
import random
import struct
import subprocess
import sys
import warnings
import zlib
from functools import partial
from itertools import pairwise
from pathlib import Path

import drawn_photos
import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngImageFile

from fashionclip import images
from fashionclip.images import UnreadableImageError, difference_hash, fit_within, load_image, open_photo, without_ends
from fashionclip.prepare.near_duplicates import MAX_DISTANCE
from fashionclip.prepare.photos import write_photos

draw = partial(drawn_photos.draw, size=(160, 120))

CASES = Path(__file__).parent / "assets" / "cases"
ORIENTATION = 0x0112
Turn = Image.Transpose


def mean_difference(one, other):
    return float(np.abs(np.asarray(one, dtype=float) - np.asarray(other, dtype=float)).mean())


def bits_apart(one, other):
    return (int(one, 16) ^ int(other, 16)).bit_count()


def write_truncated(path):
    draw(0).save(path, "JPEG")
    path.write_bytes(path.read_bytes()[:-300])


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (write_truncated, "cannot be decoded .*truncated"),
        (lambda path: path.write_text("no picture"), "cannot be decoded .*cannot identify image file as JPEG, PNG"),
        (lambda path: path.write_bytes(b""), "cannot be decoded"),
        (lambda path: draw(0).save(path, "DDS"), "cannot be decoded .*cannot identify image file as JPEG, PNG"),
        (lambda path: path.mkdir(), "cannot be decoded"),
        (os.mkfifo, r"cannot be decoded \(no file, but a folder, pipe"),
        (lambda path: path.symlink_to("/dev/zero"), r"cannot be decoded \(no file, but a folder, pipe"),
        (lambda path: path.symlink_to(path), "cannot be decoded"),
        (lambda path: None, "no such photo"),
    ],
)
def test_bad_file_is_one_error_that_names_it(tmp_path, write, message):
    write(tmp_path / "bad.jpg")
    with pytest.raises(UnreadableImageError, match=rf"bad\.jpg: {message}"):
        load_image(tmp_path / "bad.jpg")


@pytest.mark.parametrize("error", [RuntimeError("odd"), NotImplementedError(), IndexError("x"), AssertionError("y")])
def test_whatever_a_decoder_raises_is_this_photos_fault(tmp_path, monkeypatch, error):
    draw(0).save(tmp_path / "photo.png")

    def fail(self):
        raise error

    monkeypatch.setattr(PngImageFile, "load", fail)
    reason = str(error) or "NotImplementedError"
    with pytest.raises(UnreadableImageError, match=rf"photo\.png: cannot be decoded \({reason}\)"):
        load_image(tmp_path / "photo.png")


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_what_is_no_fault_of_the_photo_is_not_hidden(tmp_path, monkeypatch, error):
    draw(0).save(tmp_path / "photo.png")

    def fail(self):
        raise error

    monkeypatch.setattr(PngImageFile, "load", fail)
    with pytest.raises(error):
        load_image(tmp_path / "photo.png")


def test_no_program_is_given_a_file_that_only_looks_like_a_photo(tmp_path):
    draw(0).save(tmp_path / "photo.jpg", "EPS")  # Pillow would start Ghostscript
    with pytest.raises(UnreadableImageError, match=r"photo\.jpg: cannot be decoded .*cannot identify"):
        load_image(tmp_path / "photo.jpg")


def jpeg_of_scans(more, side=64):
    """A progressive JPEG whose last scan comes again and again: a few bytes each, and a pass over the whole photo.

    One of another side than 64 is so in its header alone.
    """
    file = io.BytesIO()
    Image.new("RGB", (64, 64), (200, 30, 10)).save(file, "JPEG", progressive=True)
    data = file.getvalue()
    size = data.index(b"\xff\xc2") + 5
    data = data[:size] + struct.pack(">HH", side, side) + data[size + 4 :]
    return data[:-2] + data[data.rindex(b"\xff\xda") : -2] * more + data[-2:]


def test_jpeg_of_very_many_scans_is_refused_before_it_is_decoded(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(jpeg_of_scans(90))  # the first ten are Pillow's
    assert load_image(tmp_path / "photo.jpg").size == (64, 64)
    (tmp_path / "photo.jpg").write_bytes(jpeg_of_scans(91))
    with pytest.raises(UnreadableImageError, match=r"photo\.jpg: 101 scans in a JPEG, at most 100 are decoded"):
        load_image(tmp_path / "photo.jpg")
    with pytest.raises(UnreadableImageError, match="5,761 scans"), open_photo(io.BytesIO(jpeg_of_scans(5751))):
        pass


def test_the_larger_a_jpeg_the_fewer_scans():
    for side, most in ((2400, 100), (4000, 37), (8000, 16)):
        with open_photo(io.BytesIO(jpeg_of_scans(most - 10, side))) as image:
            assert image.size == (side, side)
        with (
            pytest.raises(UnreadableImageError, match=f"{most + 1} scans in a JPEG, at most {most} are decoded"),
            open_photo(io.BytesIO(jpeg_of_scans(most - 9, side))),
        ):
            pass


@pytest.mark.parametrize("progressive", [False, True])
def test_what_only_looks_like_scans_is_not_counted(tmp_path, progressive):
    """A phone's photo with a film behind it, and a comment."""
    file = io.BytesIO()
    draw(0).save(file, "JPEG", progressive=progressive, comment=b"\xff\xda" * 1000)
    (tmp_path / "photo.jpg").write_bytes(file.getvalue() + b"\xff\xda\x00\x08" * 1000)
    assert load_image(tmp_path / "photo.jpg").size == (160, 120)


def test_scans_of_a_jpeg_that_is_not_progressive_are_counted_too(tmp_path):
    file = io.BytesIO()
    draw(0).convert("L").save(file, "JPEG")
    data = bytearray(file.getvalue())
    scan, frame = data.rindex(b"\xff\xda"), data.index(b"\xff\xc0")
    colours = b"\x03" + b"".join(bytes((number, 0x11, 0)) for number in (1, 2, 3))  # of which each scan has the first
    data[frame : frame + 13] = b"\xff\xc0\x00\x11\x08" + data[frame + 5 : frame + 9] + colours
    (tmp_path / "photo.jpg").write_bytes(bytes(data[:-2] + data[scan:-2] * 200 + data[-2:]))
    with pytest.raises(UnreadableImageError, match="201 scans in a JPEG"):
        load_image(tmp_path / "photo.jpg")


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("progressive", [False, True])
def test_several_pictures_in_one_jpeg_as_phones_and_cameras_write_it(tmp_path, turned, progressive):
    exif = Image.Exif()
    exif[images.EXIF_ORIENTATION] = 6
    file = tmp_path / "cam.jpg"
    photo, options = draw(0, size=(1600, 1200)), {"exif": exif} if turned else {}
    photo.save(file, "MPO", save_all=True, append_images=[draw(1, size=(400, 300))], progressive=progressive, **options)
    with open_photo(file) as image:
        assert image.format == "MPO"
    expected = photo.transpose(Image.Transpose.ROTATE_270) if turned else photo
    for at_least, shrink in ((None, 1), (224, 4)):
        read = load_image(file, at_least=at_least)  # by name: bytes in memory may be sought before their start
        assert read.size == (expected.width // shrink, expected.height // shrink)
        assert mean_difference(read, expected.resize(read.size)) < 3
    [outcome] = write_photos([(file, tmp_path / "out.jpg")], max_side=400, workers=0)
    assert not outcome.error and max(load_image(tmp_path / "out.jpg").size) == 400


def test_scans_of_several_pictures_are_counted_of_the_first(tmp_path):
    film = [draw(number) for number in range(1, 30)]
    draw(0).save(tmp_path / "film.jpg", "MPO", save_all=True, append_images=film, progressive=True)
    assert load_image(tmp_path / "film.jpg").size == (160, 120)
    draw(0).save(tmp_path / "cam.jpg", "MPO", save_all=True, append_images=film[:1], progressive=True)
    data = (tmp_path / "cam.jpg").read_bytes()
    end = data.index(b"\xff\xd9")
    last = data[data.rindex(b"\xff\xda", 0, end) : end]
    (tmp_path / "cam.jpg").write_bytes(data[:end] + last * 200 + data[end:])
    with pytest.raises(UnreadableImageError, match="210 scans in a JPEG"):
        load_image(tmp_path / "cam.jpg")


def palette_with_a_hole():
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 200, 30, 10])
    image.paste(0, (0, 0, 4, 8))
    image.info["transparency"] = 0
    return image


@pytest.mark.parametrize(
    ("image", "suffix", "left", "right"),
    [
        (Image.new("L", (8, 8), 100), "png", (100, 100, 100), (100, 100, 100)),
        (Image.new("1", (8, 8), 1), "png", (255, 255, 255), (255, 255, 255)),
        (Image.fromarray(np.full((8, 8), 100 * 257, np.uint16)), "png", (100, 100, 100), (100, 100, 100)),
        (Image.fromarray(np.full((8, 8), 100 * 257, np.uint16)), "tif", (100, 100, 100), (100, 100, 100)),
        (Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "jpg", (255, 0, 0), (255, 0, 0)),
        (palette_with_a_hole(), "png", (255, 255, 255), (200, 30, 10)),
        (palette_with_a_hole(), "gif", (255, 255, 255), (200, 30, 10)),
        (Image.new("RGBA", (8, 8), (0, 0, 0, 51)), "png", (204, 204, 204), (204, 204, 204)),
        (Image.new("RGBA", (8, 8), (10, 20, 30, 0)), "webp", (255, 255, 255), (255, 255, 255)),
        (Image.new("LA", (8, 8), (0, 0)), "png", (255, 255, 255), (255, 255, 255)),
    ],
    ids=["grey", "two-level", "grey16-png", "grey16-tif", "cmyk", "palette", "gif", "rgba", "webp", "grey-alpha"],
)
def test_every_mode_becomes_rgb_on_white(tmp_path, image, suffix, left, right):
    image.save(tmp_path / f"photo.{suffix}")
    loaded = load_image(tmp_path / f"photo.{suffix}")
    assert loaded.mode == "RGB"
    assert loaded.getpixel((1, 4)) == pytest.approx(left, abs=2)
    assert loaded.getpixel((6, 4)) == pytest.approx(right, abs=2)


@pytest.mark.parametrize("at_least", [None, 40])
@pytest.mark.parametrize(
    ("orientation", "stored_as"),
    [
        (2, Turn.FLIP_LEFT_RIGHT),
        (3, Turn.ROTATE_180),
        (4, Turn.FLIP_TOP_BOTTOM),
        (5, Turn.TRANSPOSE),
        (6, Turn.ROTATE_90),
        (7, Turn.TRANSVERSE),
        (8, Turn.ROTATE_270),
    ],
)
def test_photo_of_a_turned_camera_comes_out_upright(tmp_path, orientation, stored_as, at_least):
    corners = {(0, 0): (255, 0, 0), (1, 0): (0, 255, 0), (0, 1): (0, 0, 255), (1, 1): (255, 255, 0)}
    upright = Image.new("RGB", (192, 128))
    for (column, row), colour in corners.items():
        upright.paste(colour, (96 * column, 64 * row, 96 * column + 96, 64 * row + 64))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    upright.transpose(stored_as).save(tmp_path / "photo.jpg", exif=exif, quality=95)
    loaded = load_image(tmp_path / "photo.jpg", at_least=at_least)
    assert loaded.width > loaded.height
    for (column, row), colour in corners.items():
        place = (loaded.width * (1 + 2 * column) // 4, loaded.height * (1 + 2 * row) // 4)
        assert loaded.getpixel(place) == pytest.approx(colour, abs=6)


def test_odd_metadata_is_neither_trouble_nor_kept(tmp_path, recwarn):
    exif = b"Exif\0\0MM\0\x2a" + struct.pack(">IH", 8, 1) + struct.pack(">HHI4s", 0x011A, 5, 9, b"odd!")  # cut short
    draw(0).save(tmp_path / "photo.jpg", exif=exif, comment=b"private", icc_profile=b"no profile")
    loaded = load_image(tmp_path / "photo.jpg")
    assert loaded.size == (160, 120) and not loaded.info and not recwarn
    loaded.save(tmp_path / "again.jpg")
    assert b"private" not in (tmp_path / "again.jpg").read_bytes()
    assert b"Exif" not in (tmp_path / "again.jpg").read_bytes()


ADOBE = (CASES / "icc" / "green.jpg", (110, 191, 99), (24, 192, 92))


def profile_of_adobe():
    with Image.open(ADOBE[0]) as image:
        return image.info["icc_profile"]


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_colours_of_another_profile_become_srgb(tmp_path, suffix):
    _, stored, shown = ADOBE
    Image.new("RGB", (8, 8), stored).save(tmp_path / f"photo.{suffix}", icc_profile=profile_of_adobe(), quality=100)
    assert load_image(tmp_path / f"photo.{suffix}").getpixel((3, 3)) == pytest.approx(shown, abs=4)


def test_transparent_photo_of_another_profile(tmp_path):
    _, stored, shown = ADOBE
    photo = Image.new("RGBA", (8, 8), (*stored, 255))
    photo.paste((0, 0, 0, 0), (4, 0, 8, 8))
    photo.save(tmp_path / "photo.png", icc_profile=profile_of_adobe())
    loaded = load_image(tmp_path / "photo.png")
    assert loaded.getpixel((1, 1)) == pytest.approx(shown, abs=1)
    assert loaded.getpixel((6, 1)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("mode", "colour", "profile"),
    [
        ("RGB", (110, 191, 99), ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()),
        ("RGB", (110, 191, 99), b"no profile at all"),
        ("L", 110, profile_of_adobe()),
        ("CMYK", (10, 20, 30, 40), profile_of_adobe()),
    ],
    ids=["srgb", "broken", "rgb-of-grey", "rgb-of-cmyk"],
)
def test_profile_that_says_nothing_new_or_does_not_fit_changes_no_pixel(tmp_path, mode, colour, profile):
    Image.new(mode, (8, 8), colour).save(tmp_path / "with.jpg", icc_profile=profile)
    Image.new(mode, (8, 8), colour).save(tmp_path / "without.jpg")
    assert load_image(tmp_path / "with.jpg").tobytes() == load_image(tmp_path / "without.jpg").tobytes()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "I;16"])
def test_conversion_by_bands_is_that_of_the_whole(tmp_path, monkeypatch, mode):
    pixels = np.random.default_rng(0).integers(0, 256, (50, 40, 4), dtype=np.uint8)
    photo = Image.fromarray(pixels)
    photo = Image.fromarray(pixels.astype(np.uint16)[..., 0] * 257) if mode == "I;16" else photo.convert(mode)
    photo.save(tmp_path / "photo.png")
    whole = load_image(tmp_path / "photo.png")
    monkeypatch.setattr(images, "BAND", 7 * 40)
    assert load_image(tmp_path / "photo.png").tobytes() == whole.tobytes()
    monkeypatch.setattr(images, "LARGE", 0)
    small = load_image(tmp_path / "photo.png", at_least=13)
    assert small.size == (14, 17) and small.tobytes() == whole.reduce(3).tobytes()


@pytest.mark.parametrize(
    ("values", "grey"),
    [
        (np.array([[0.0, 0.4, 1.0]], np.float32), [0, 102, 255]),
        (np.array([[0.0, 128.0, 255.0]], np.float32), [0, 128, 255]),
        (np.array([[0.0, 0.4, np.nan]], np.float32), [0, 102, 0]),
        (np.array([[0, 128, 255]], np.int32), [0, 128, 255]),
        (np.array([[0, 128 * 257, 65535]], np.int32), [0, 128, 255]),
        (np.array([[-5, 0, 2_000_000]], np.int32), [0, 0, 255]),
        (np.array([[0, 0, 0]], np.float32), [0, 0, 0]),
    ],
)
def test_pixels_that_are_numbers_are_scaled_by_the_range_they_fill(tmp_path, values, grey):
    Image.fromarray(values).save(tmp_path / "photo.tif")
    assert np.asarray(load_image(tmp_path / "photo.tif"))[0, :, 1].tolist() == grey


@pytest.mark.parametrize(
    ("size", "expected"),
    [((16_000, 1), (20, 1)), ((3, 100), (3, 60)), ((41, 2), (40, 2)), ((2, 40), (2, 40)), ((300, 400), (300, 400))],
)
def test_strip_is_cut_to_its_middle_and_no_other_photo(size, expected):
    strip = draw(0, size=size)
    cut = without_ends(strip)
    assert cut.size == expected
    if size != expected:
        left, top = (size[0] - expected[0]) // 2, (size[1] - expected[1]) // 2
        assert cut.tobytes() == strip.crop((left, top, left + expected[0], top + expected[1])).tobytes()
    else:
        assert cut is strip


@pytest.mark.parametrize(
    ("case", "size", "colour"),
    [
        ("icc/green.jpg", (64, 64), (24, 192, 92)),
        ("modes/bmp_alpha.bmp", (16, 16), (255, 0, 0)),
        ("modes/float_tiff_unit.tif", (8, 8), (128, 128, 128)),
        ("modes/grey16_trns.png", (4, 4), (255, 255, 255)),
        ("modes/grey4_trns.png", (4, 4), (85, 85, 85)),
        ("modes/int32_tiff_8bitrange.tif", (8, 8), (200, 200, 200)),
        ("modes/rgb16_trns.png", (4, 4), (234, 117, 0)),
        ("odd_exif/orient_9.jpg", (60, 40), (255, 255, 255)),
        ("odd_exif/orient_ascii.jpg", (60, 40), (255, 255, 255)),
        ("odd_exif/orient_byte.jpg", (40, 60), (255, 255, 255)),
        ("odd_exif/orient_zero_count.jpg", (60, 40), (255, 255, 255)),
        ("odd_exif/resunit_ascii.jpg", (40, 60), (255, 255, 255)),
        ("odd_exif/xres_ascii.jpg", (40, 60), (255, 255, 255)),
        ("strip/line.png", (8000, 1), (255, 255, 255)),
        (
            "avif_damaged/zero_tail.avif",
            None,
            "cannot be decoded .*(color planes|cannot identify)",
        ),
        ("avif_damaged/phone.heic", None, "cannot be decoded .*cannot identify image file as JPEG"),
    ],
)
def test_photo_of_a_fault_report(case, size, colour):
    if size is None:
        with pytest.raises(UnreadableImageError, match=colour):
            load_image(CASES / case)
    else:
        loaded = load_image(CASES / case)
        assert (loaded.mode, loaded.size) == ("RGB", size)
        assert loaded.getpixel((0, 0)) == pytest.approx(colour, abs=1)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the most memory that a process had, in /proc")
@pytest.mark.parametrize(("at_least", "most"), [("None", 1.7e9), ("448", 0.9e9)])  # a photo is 4 bytes a pixel: 0.7e9
def test_transparent_photo_of_177_megapixels_is_not_copied_thrice(tmp_path, at_least, most):
    Image.new("RGBA", (13_370, 13_370), (120, 130, 140, 200)).save(tmp_path / "giant.png", compress_level=1)
    program = (
        "import sys; from fashionclip.images import load_image\n"
        f"print(load_image(sys.argv[1], at_least={at_least}).getpixel((5, 5)))\n"
        "print(*[line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')])"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path / "giant.png"], capture_output=True, check=True)
    colour, peak = done.stdout.decode().splitlines()
    assert colour == "(149, 157, 165)"
    assert int(peak) * 1024 < most


def write_png_header(path, *, side):
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))


@pytest.mark.parametrize("pillow_limit", [Image.MAX_IMAGE_PIXELS, None])
def test_giant_photo_is_refused_from_its_header(tmp_path, monkeypatch, pillow_limit):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pillow_limit)
    write_png_header(tmp_path / "bomb.png", side=14_200)
    message = r"bomb\.png: (201,640,000|too many) pixels, at most 178,956,970 are decoded\. Scale the photo down"
    with pytest.raises(UnreadableImageError, match=message):
        load_image(tmp_path / "bomb.png")


def test_own_limit_holds_and_a_large_photo_below_it_gives_no_warning(tmp_path, monkeypatch):
    draw(0, size=(10, 10)).save(tmp_path / "photo.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60)  # Pillow warns above 60 and raises above 120
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_image(tmp_path / "photo.png").size == (10, 10)
    monkeypatch.setattr(images, "MAX_PIXELS", 99)
    with pytest.raises(UnreadableImageError, match="100 pixels, at most 99 are decoded"):
        load_image(tmp_path / "photo.png")


@pytest.mark.parametrize(
    ("size", "at_least", "expected"),
    [((800, 600), 150, (200, 150)), ((800, 600), 151, (400, 300)), ((800, 600), 900, (800, 600)), ((8, 600), 9, None)],
)
def test_draft_decodes_less_and_shows_nearly_the_same(tmp_path, size, at_least, expected):
    draw(1, size=size).save(tmp_path / "photo.jpg", quality=95)
    full, small = load_image(tmp_path / "photo.jpg"), load_image(tmp_path / "photo.jpg", at_least=at_least)
    assert small.size == (expected or size)
    assert mean_difference(small, full.resize(small.size, Image.Resampling.BOX)) < 1.5


@pytest.mark.parametrize(
    ("size", "max_side", "expected"),
    [
        ((100, 50), 200, (100, 50)),
        ((100, 50), 100, (100, 50)),
        ((100, 50), 40, (40, 20)),
        ((50, 100), 40, (20, 40)),
        ((1000, 1), 10, (10, 1)),
    ],
)
def test_fit_within_scales_down_and_never_up(size, max_side, expected):
    assert fit_within(draw(0, size=size), max_side=max_side).size == expected


def test_difference_hash_against_a_double_loop():
    grey = np.random.default_rng(0).integers(100, 116, (images.HASH_SIDE, images.HASH_SIDE + 1), dtype=np.uint8)
    bits = ""
    for row in grey.tolist():
        for left, right in pairwise(row):
            bits += "1" if left > right + images.HASH_MARGIN else "0"
    assert difference_hash(Image.fromarray(grey)) == f"{int(bits, 2):064x}"


@pytest.mark.parametrize("seed", range(5))
def test_difference_hash_tells_same_from_other(tmp_path, seed):
    picture = draw(seed, size=(300, 400))
    picture.save(tmp_path / "photo.jpg", quality=70)
    picture.resize((270, 360), Image.Resampling.BICUBIC).save(tmp_path / "small.jpg", quality=85)
    value = difference_hash(picture)
    assert bits_apart(value, difference_hash(load_image(tmp_path / "photo.jpg"))) <= MAX_DISTANCE
    assert bits_apart(value, difference_hash(load_image(tmp_path / "small.jpg"))) <= MAX_DISTANCE
    assert bits_apart(value, difference_hash(draw(seed + 100, size=(300, 400)))) > 8 * MAX_DISTANCE


def test_noise_on_a_white_background_sets_no_bit():
    noise = np.random.default_rng(0).integers(252, 256, (64, 68, 3), dtype=np.uint8)
    assert difference_hash(Image.fromarray(noise)) == "0" * 64
    noise[16:48, 17:51] = 90
    clean = np.where(noise > 200, np.uint8(255), noise)
    assert difference_hash(Image.fromarray(noise)) == difference_hash(Image.fromarray(clean)) != "0" * 64


@pytest.mark.parametrize("period", [3, 4, 5, 6, 7])
def test_fine_stripes_set_no_bit(period):
    stripes = np.where(np.arange(224) % period < period / 2, np.uint8(60), np.uint8(200))
    assert difference_hash(Image.fromarray(np.tile(stripes, (224, 1)))) == "0" * 64


def test_real_photos_keep_their_hash_when_made_smaller(real_data, tmp_path):
    photos = sorted((real_data / "kaggle-products" / "images").iterdir())
    moved = []
    for path in random.Random(0).sample(photos, 200):
        photo = load_image(path)
        photo.resize((photo.width * 3 // 4, photo.height * 3 // 4)).save(tmp_path / "small.jpg", quality=80)
        moved.append(bits_apart(difference_hash(photo), difference_hash(load_image(tmp_path / "small.jpg"))))
    assert sum(bits > MAX_DISTANCE for bits in moved) <= 4
    assert max(moved) <= 2 * MAX_DISTANCE
