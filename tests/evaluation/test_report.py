"""The report as a reader gets it: its HTML parsed, and opened in Chromium."""

import base64
import io
import re
import shutil
from html.parser import HTMLParser

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from drawn_photos import draw
from PIL import Image

from fashionclip.evaluation.compare import compared
from fashionclip.evaluation.outcome import Outcome, outcome_of
from fashionclip.evaluation.report import write_report
from fashionclip.manifest import PreparedDataset
from fashionclip.metrics.ranking import first_rank, rank_relevant, recall, reciprocal_rank
from fashionclip.metrics.samples import Sample, Search, figures_of, measured

CHROMIUM = shutil.which("chromium")
EVIL = "<script>alert(1)</script> & \"quoted\" 'so' </style> {{ 7 * 7 }}"
FUNCTIONS = {
    "recall@1": lambda ranks: recall(ranks, k=1),
    "mrr": reciprocal_rank,
    "median_rank": first_rank,
}


class Page(HTMLParser):
    """Tags with their attributes, and the text outside of styles."""

    def __init__(self, file):
        super().__init__()
        self.tags, self.text, self.open = [], "", []
        self.source = file.read_text("utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.open.append(tag)

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += f"{data}\n"

    def photos(self):
        """Classes of the photos on the page."""
        return [one["class"].split() for tag, one in self.tags if tag == "span" and "photo" in one.get("class", "")]


def catalogue(folder, *, photos, categories, written=True):
    """A dataset of photos that are of their categories in turn, each with a text of its own."""
    (folder / "images").mkdir()
    manifest = pd.DataFrame(
        {
            "image_id": [str(row) for row in range(photos)],
            "path": [f"images/{row}{EVIL if row == 1 else ''}.jpg".replace("/s", "s") for row in range(photos)],
            "split": "test",
            "domain": "catalog",
            "item_id": [str(row) for row in range(photos)],
            "group_id": [str(row) for row in range(photos)],
            "text": [f"Kleid für Größe {row} - 連衣裙 {EVIL}" for row in range(photos)],
            "category": [categories[row % len(categories)] for row in range(photos)],
            "colour": ["red", "blue"] * (photos // 2) + ["red"] * (photos % 2),
        }
    )
    for row, path in enumerate(manifest["path"] if written else []):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        draw(row).save(folder / path, "JPEG")
    return PreparedDataset(root=folder, manifest=manifest, info={})


def outcome(dataset, *, collapsed=False, seed=0, texts=None):
    """An outcome of texts to photos, photos to texts, and photos to photos of their category."""
    rows = torch.arange(len(dataset.manifest))
    torch.manual_seed(seed)
    image = torch.ones(len(rows), 8) if collapsed else torch.randn(len(rows), 8)
    image = F.normalize(image, dim=1)
    kind = torch.from_numpy(pd.factorize(dataset.manifest["category"])[0])
    own, alike = torch.stack([rows, rows], dim=1), (kind[:, None] == kind).nonzero()
    searches = {
        "text_to_image": Search(image.roll(1, 0), image, own, rows, rows, by_text=True, texts=texts),
        "image_to_text": Search(image, image.roll(1, 0), own, rows, rows, by_text=False, among_texts=True, texts=texts),
        "image_to_image": Search(image, image, alike, rows, rows, by_text=False, exclude=own),
    }
    samples = [
        measured(
            rank_relevant(one.query, one.gallery, one.relevant, exclude=one.exclude),
            FUNCTIONS,
            direction=direction,
            group=rows,
            search=one,
        )
        for direction, one in searches.items()
    ]
    figures = {name: value.item() for name, value in figures_of(samples).items()}
    return outcome_of(samples, manifest=dataset.manifest, texts=dataset.manifest["text"], figures=figures)


def report(dataset, stages, **given):
    file = dataset.root / "report.html"
    given = {"texts": dataset.manifest["text"].tolist(), "title": EVIL, "facts": {"model": EVIL}, **given}
    write_report(file, stages, dataset, **given)
    return Page(file)


def check_self_contained(page):
    names = {one["id"] for _, one in page.tags if "id" in one}
    for tag, attributes in page.tags:
        assert tag not in ("script", "link", "iframe", "object", "base"), tag
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href", "srcset", "data", "action", "poster"):
            address = attributes.get(name, "data:")
            assert address.startswith("data:image/") or address == "data:" or address[1:] in names, address
    assert not re.findall(r"url\((?!data:image/jpeg;base64,)", page.source) and "@import" not in page.source
    assert not re.search(r"(?<!xmlns=.)(https?:)?//\w+\.\w", re.sub(r"base64,[\w+/=]+", "", page.source))
    policy = next(one["content"] for tag, one in page.tags if one.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none';")


def test_names_are_text_and_nothing_is_asked_for(tmp_path):
    dataset = catalogue(tmp_path, photos=12, categories=[EVIL, "Röcke", "Kleider"])
    (tmp_path / "images" / "2.jpg").write_bytes(b"no photo")
    (tmp_path / "images" / "3.jpg").unlink()
    draw(0).save(tmp_path / "map.png")
    stages = {"before": outcome(dataset, seed=1), "after": outcome(dataset)}
    page = report(
        dataset,
        stages,
        monitor="val/image_to_image/mrr",
        meanings={"mrr": EVIL},
        pictures={EVIL: tmp_path / "map.png", "gone": tmp_path / "none.png"},
    )
    check_self_contained(page)
    assert EVIL in page.text
    assert f"Kleid für Größe 0 - 連衣裙 {EVIL}" in page.text and "Röcke" in page.text
    directions = [one["id"] for tag, one in page.tags if tag == "details" and "id" in one]
    assert len(directions) == 3
    first = page.source[page.source.index('<details id="direction-1"') :][:400]
    assert "Image to image" in first and " open>" in first, "the direction that chose the checkpoint"
    shown = {names[1] for names in page.photos()}
    rules = dict(re.findall(r"\.(p\d+)\{background-image:url\(data:image/jpeg;base64,([\w+/=]+)\)\}", page.source))
    assert shown == {*rules, "p2", "p3"} and len(rules) == 10, "each photo once, and a cross for those that are gone"
    assert ".p2::after" in page.source and ".p3::after" in page.source
    with Image.open(io.BytesIO(base64.b64decode(rules["p1"]))) as photo:
        assert max(photo.size) <= 88
    assert "before" in page.text and "after" in page.text and "mrr *" in page.text
    assert len([tag for tag, one in page.tags if tag == "img"]) == 1


def test_figures_slices_hits_and_confusions_are_those_of_the_outcome(tmp_path, monkeypatch):
    dataset = catalogue(tmp_path, photos=40, categories=["Dresses", "Nightdress"], written=False)
    found = outcome(dataset)
    page = report(dataset, {"after": found})
    for name in ("text_to_image/recall@1", "image_to_image/mrr", "image_to_image/category/Dresses/recall@1"):
        assert f"{found.figures[name]:.3f}" in page.text
    low, high = found.intervals["text_to_image/mrr"]
    assert f"{low:.2f}\u2013{high:.2f}" in page.text
    of_photos = next(sample for sample in found.samples if sample.direction == "image_to_image")
    wrong = int((of_photos.values["recall@1"] == 0).sum())
    assert f"{wrong} of 40 queries find something wrong first." in page.text
    assert re.search(r"Dresses</bdi> <span class=\"arrow\">→</span> <bdi>Nightdress", page.source)
    section = page.source[page.source.index("Image to image</bdi></h2>") :]
    grid = section[section.index("what they find first") : section.index("What is found instead")]
    lines = re.findall(r"<li>.*?</li>", grid, re.DOTALL)
    assert len(lines) == 6
    for row, line in zip((0, 7, 15, 23, 31, 39), lines, strict=True):
        asked, *hits = re.findall(r'class="photo p(\d+)( right)?"', line)
        assert asked == (str(row), "") and len(hits) == 8
        assert all((int(hit) % 2 == row % 2) == bool(right) for hit, right in hits)
        rank = int(of_photos.values["median_rank"][row])
        assert f"rank {rank}<" in line
        if rank <= 8:
            assert [bool(right) for _, right in hits].index(True) == rank - 1
    worst = section[section.index("Worst queries") :]
    assert worst.count("<details>") == 3 and worst.count("<li>") == 30, "ten queries of each of three slices"

    monkeypatch.setattr("fashionclip.evaluation.report.ASKED", 14)
    wrong = int((of_photos.values["recall@1"][::3] == 0).sum())
    sampled = report(dataset, {"after": found}).text
    assert f"{wrong} of 14 queries, taken at even steps from all 40, find something wrong first" in sampled


def test_a_change_has_the_interval_of_the_same_queries_and_is_bold_where_it_is_told_from_chance(tmp_path):
    dataset = catalogue(tmp_path, photos=40, categories=["a", "b"], written=False)
    stages = {"before": outcome(dataset, collapsed=True), "after": outcome(dataset)}
    page = report(dataset, stages)
    lines = compared(*(one.queries.drop(columns=["category", "colour"]) for one in stages.values()))
    mrr = lines[(lines["direction"] == "image_to_image") & (lines["metric"] == "mrr")].iloc[0]
    assert mrr["sure"] and mrr["low"] > 0
    assert f"<b>+{mrr['difference']:.3f}</b> <small>+{mrr['low']:.2f} to +{mrr['high']:.2f}</small>" in page.source
    same = report(dataset, {"before": stages["after"], "after": stages["after"]})
    assert "<b>+" not in same.source and "+0.00 to +0.00" in same.source


def test_a_collapsed_model_finds_something_wrong_first_wherever_there_is_something_wrong(tmp_path):
    dataset = catalogue(tmp_path, photos=30, categories=["a", "b"], written=False)
    page = report(dataset, {"after": outcome(dataset, collapsed=True)})
    assert page.text.count("30 of 30 queries find something wrong first") == 3


def test_texts_of_a_task_are_their_own_category(tmp_path):
    dataset = catalogue(tmp_path, photos=6, categories=["a", "b"], written=False)
    words = [f"word {place}" for place in range(6)]
    page = report(dataset, {"after": outcome(dataset, texts=words)})
    assert re.search(r"<bdi>word \d</bdi> <span class=\"arrow\">→</span> <bdi>[ab]</bdi>", page.source)
    assert re.search(r"<bdi>word \d</bdi> <span class=\"arrow\">→</span> <bdi>word \d</bdi>", page.source)


def test_little_and_nothing(tmp_path):
    (tmp_path / "one").mkdir()
    one = catalogue(tmp_path / "one", photos=1, categories=[""])
    check_self_contained(report(one, {"before": outcome(one), "after": outcome(one)}))
    empty = Sample("text_to_image", {"recall@1": torch.tensor([])}, torch.tensor([]), torch.tensor([]).long())
    alone = Sample("", {"spread": torch.tensor([0.5])}, torch.tensor([0]), torch.tensor([0]))
    figures = {"text_to_image/recall@1": float("nan"), "spread": 0.5, "triplet/order_accuracy/text/replaced": 0.75}
    page = report(one, {"metrics": Outcome(figures, {}, [empty, alone], [], pd.DataFrame())})
    words = page.text.split()
    assert "\u2013" in words and "0.500" in words and {"Triplet", "accuracy/text/replaced", "0.750"} <= set(words)
    assert "Nothing was measured" in report(one, {"metrics": Outcome({}, {}, [], [], pd.DataFrame())}).text


def test_a_thousand_categories_stay_one_small_file(tmp_path):
    dataset = catalogue(tmp_path, photos=1000, categories=[f"category {n}" for n in range(1000)], written=False)
    rows = torch.arange(1000)
    image = F.normalize(torch.randn(1000, 8, generator=torch.Generator().manual_seed(0)), dim=1)
    search = Search(image.roll(1, 0), image, torch.stack([rows, rows], 1), rows, rows, by_text=True)
    ranks = rank_relevant(search.query, search.gallery, search.relevant)
    sample = measured(ranks, FUNCTIONS, direction="text_to_image", group=rows, search=search)
    parts = [sample.of(rows[n : n + 1], direction=f"text_to_image/category/category {n}") for n in range(1000)]
    figures = {name: value.item() for name, value in figures_of([sample, *parts]).items()}
    page = report(dataset, {"after": Outcome(figures, {}, [sample], parts, pd.DataFrame())})
    check_self_contained(page)
    assert len(page.source) < 300_000 and "and 984 more in results.json" in page.text
    assert re.search(r"and \d+ rarer ones", page.text)


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed: apt-get install chromium")
def test_it_opens_without_a_request_or_a_complaint(tmp_path):
    from playwright.sync_api import sync_playwright

    dataset = catalogue(tmp_path, photos=12, categories=[EVIL, "Röcke"])
    draw(0).save(tmp_path / "map.png")
    stages = {"before": outcome(dataset, seed=1), "after": outcome(dataset)}
    report(dataset, stages, pictures={"map": tmp_path / "map.png"})
    address = (tmp_path / "report.html").as_uri()
    with sync_playwright() as playwright:
        arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        page = browser.new_context(offline=True, viewport={"width": 400, "height": 800}).new_page()
        said = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.on("request", lambda asked: said.append(asked.url) if not asked.url.startswith("data:image/") else None)
        page.goto(address)
        assert said == [address]
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
        assert page.evaluate("document.images[0].naturalWidth") == 160
        page.click("summary >> text=Image to text")
        assert page.is_visible("text=連衣裙 >> nth=0")
        browser.close()
