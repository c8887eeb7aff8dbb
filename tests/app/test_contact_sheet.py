import numpy as np
from drawn_photos import draw
from PIL import Image

from fashionclip.app.contact_sheet import ACROSS, GAP, MARGIN, SIDE, Tile, draw_contact_sheet


def test_each_photo_has_its_place_and_its_frame(tmp_path):
    colours = [(200, 30, 30), (30, 200, 30), (30, 30, 200)]
    for number, colour in enumerate(colours):
        Image.new("RGB", (100 + 100 * number, 200), colour).save(tmp_path / f"{number}.png")
    tiles = [Tile(tmp_path / f"{number % 3}.png", "a text", "a note") for number in range(ACROSS + 1)]
    tiles[1] = tiles[1]._replace(colour="#ff00ff")
    draw_contact_sheet(tmp_path / "sheet.png", [("some", tiles)])
    sheet = np.asarray(Image.open(tmp_path / "sheet.png").convert("RGB"))
    centres = [sheet[MARGIN + 2 * 22 - 8 + SIDE // 2, MARGIN + n * (SIDE + GAP) + SIDE // 2] for n in range(ACROSS)]
    for number, centre in enumerate(centres):
        assert np.abs(centre.astype(int) - colours[number % 3]).max() < 10, number
    framed = (sheet == (255, 0, 255)).all(2)
    assert framed.any() and framed.nonzero()[1].min() == MARGIN + SIDE + GAP


def test_texts_of_any_length_and_script_stay_within_the_sheet(tmp_path):
    draw(0).save(tmp_path / "0.jpg")
    texts = ["", "W" * 300, "words " * 60, "Größe 42 · Ёлка", "$x^2$ [red]", "赤い\tシャツ\n二"]
    draw_contact_sheet(tmp_path / "sheet.png", [("texts", [Tile(tmp_path / "0.jpg", text, text) for text in texts])])
    sheet = np.asarray(Image.open(tmp_path / "sheet.png").convert("L"))
    right = MARGIN + ACROSS * SIDE + (ACROSS - 1) * GAP
    assert (sheet[:, right:] == 255).all() and (sheet[-MARGIN:] == 255).all(), "the margins are empty"
    assert (sheet[:, MARGIN + 2 * SIDE + GAP : MARGIN + 2 * (SIDE + GAP)] == 255).all(), "and what lies between photos"
