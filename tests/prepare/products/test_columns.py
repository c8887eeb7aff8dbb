import pytest

from fashionclip.prepare.products.columns import choose_columns
from fashionclip.tables.table import Table


def choose(header, row, given=None):
    table = Table(header=header, rows=[row], lines=[2], unread=[])
    return choose_columns(table, given, names_photo=[lambda cell: cell.endswith(".jpg")], where="shop.csv")


SHOPS = [  # titles and a row as programs of shops export them; what is meant: image, texts, item, group, category
    (
        {
            "id": "7", "title": "Tee", "description": "Soft", "link": "https://shop.test/7", "image_link": "a.jpg",
            "additional_image_link": "b.jpg", "item_group_id": "T", "product_type": "Tops", "color": "red",
        },
        ["image_link", "additional_image_link"], ["title", "description"], "id", "item_group_id", "product_type",
        {"link": "link", "colour": "color"},
    ),
    (
        {
            "Handle": "tee", "Title": "Tee", "Body (HTML)": "<p>Soft</p>", "Vendor": "Us", "Type": "Tops", "Tags": "",
            "Variant SKU": "T-1", "Image Src": "a.jpg", "Image Alt Text": "front",
        },
        ["Image Src"], ["Title", "Body (HTML)"], "Handle", None, "Type",
        {"vendor": "Vendor", "variant_sku": "Variant SKU", "image_alt_text": "Image Alt Text"},
    ),
    (
        {"ID": "7", "SKU": "T", "Name": "Tee", "Short description": "Soft", "Categories": "Tops", "Images": "a.jpg"},
        ["Images"], ["Name", "Short description"], "SKU", None, "Categories", {"id": "ID"},
    ),
    (
        {"Foto1": "a.jpg", "Foto2": "b.jpg", "Foto3": "", "Bezeichnung": "Hemd", "Artikelnummer": "7", "Größe": "M"},
        ["Foto1", "Foto2"], ["Bezeichnung"], "Artikelnummer", None, None, {"größe": "Größe"},
    ),
    (
        {"what is it": "Tee", "shot": "a.jpg", "name": "Tee", "path": "7"},
        ["shot"], ["name"], None, None, None, {"what_is_it": "what is it", "table_path": "path"},
    ),
    (
        {"file_name": "a.jpg", "label": "long_dress", "split": "kitchen"},
        ["file_name"], ["label"], None, None, "label", {"table_split": "split"},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("shop", "image", "texts", "item", "group", "category", "attributes"), SHOPS)
def test_titles_of_usual_exports_are_understood(capsys, shop, image, texts, item, group, category, attributes):
    found = choose(list(shop), list(shop.values()))
    assert (found.image, list(found.texts.values())) == (image, texts)
    assert (found.item, found.group, found.category) == (item, group, category)
    assert found.attributes == attributes, "columns without values are none"
    assert f"guessed from its titles: image: {image[0]!r}" in capsys.readouterr().out


def test_what_is_given_is_not_guessed(capsys):
    header, row = ["image", "shot", "title", "sku", "type", "colour"], ["a.jpg", "b.jpg", "Tee", "7", "Tops", "red"]
    found = choose(
        header, row, {"image": ["shot", "IMAGE"], "texts": ["Title", "type"], "item": None, "farbe": "colour"}
    )
    assert (found.image, found.texts) == (["shot", "image"], {"title": "title", "type": "type"})
    assert (found.item, found.category, found.attributes) == (None, None, {"farbe": "colour"})
    assert capsys.readouterr().out == ""
    assert choose(header, row, {"texts": "title"}).texts == {"title": "title"}
    assert choose(header, row, {"texts": None}).texts == {}
    assert choose(header, row, {"texts": {"text": "title"}}).texts == {"text": "title"}
