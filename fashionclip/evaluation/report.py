"""`report.html`: what an evaluation found, in one file that asks for nothing else.

It takes any samples: figures and curves by direction, slices, what queries find, and what is found instead.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image
from torch import Tensor

from fashionclip.atomic import write_text
from fashionclip.evaluation.compare import compared
from fashionclip.evaluation.hits import Hits
from fashionclip.evaluation.outcome import COUNTS, Outcome
from fashionclip.evaluation.slices import SEVERAL, SLICED_BY, UNKNOWN, attributes_of
from fashionclip.images import UnreadableImageError, load_image
from fashionclip.manifest import PreparedDataset
from fashionclip.metrics.samples import Sample, Search, is_median

QUERIES, HITS = 6, 8  # of a direction
WORST_SLICES, WORST_QUERIES, WORST_HITS = 3, 10, 5
LEAST = 10  # queries of a slice that says something
SLICES, CONFUSIONS, EXAMPLES = 16, 12, 3  # at most: of an attribute, of a direction, of a confusion
ASKED = 5000  # queries of a direction, at most, whose first hits are compared with categories
SIDE, SMALL, MANY = 88, 64, 1200  # pixels of a thumbnail; of more than so many
DASH = "\u2013"
HEAVY = 150_000  # bytes of a picture that is shown as JPEG
RANK = "median_rank"  # metric whose values are ranks


@dataclass(frozen=True)
class Shown:
    """A photo or a text on the page.

    Attributes:
        text: Text, or description of the photo.
        photo: Class of the photo's thumbnail; None of a text.
        right: Whether it is a right answer.
    """

    text: str
    photo: str | None = None
    right: bool = False


@dataclass
class Thumbnails:
    """The photos of a page, each of them once, as rules of its style sheet.

    Args:
        dataset: Dataset of the photos.
    """

    dataset: PreparedDataset
    rows: dict[int, None] = field(default_factory=dict)

    def show(self, row: int, *, right: bool = False) -> Shown:
        """A photo on the page, by its row of the manifest."""
        self.rows[row] = None
        of = self.dataset.manifest.iloc[row]
        return Shown(" · ".join(filter(None, (of["text"], of["category"], of["path"]))), f"p{row}", right)

    def rules(self) -> Markup:
        """The style of each class; a photo that cannot be read has a cross."""
        side = SIDE if len(self.rows) <= MANY else SMALL
        paths = self.dataset.manifest["path"].to_numpy()
        rules = []
        for row in self.rows:
            try:
                photo = load_image(self.dataset.root / paths[row], at_least=side)
            except UnreadableImageError:
                rules.append(f".p{row}::after{{content:'\\d7'}}")
                continue
            photo.thumbnail((side, side))
            rules.append(f".p{row}{{background-image:url({_data(photo, quality=72)})}}")
        return Markup("\n".join(rules))  # numbers and base64 alone


def write_report(
    file: Path,
    stages: Mapping[str, Outcome],
    dataset: PreparedDataset,
    *,
    texts: Sequence[str],
    title: str,
    facts: Mapping[str, str],
    monitor: str | None = None,
    meanings: Mapping[str, str] | None = None,
    pictures: Mapping[str, Path] | None = None,
) -> None:
    """Writes the report of an evaluation.

    Args:
        file: HTML file to write.
        stages: What was found by stage, such as "before" and "after"; queries are those of the last one.
        dataset: Dataset that was measured.
        texts: Texts that ids of the manifest stand for.
        title: Title of the report, such as the run's name.
        facts: What stands at its head, by name.
        monitor: Validation metric that chose the checkpoint, such as "val/text_to_image/mrr"; its direction comes
            first.
        meanings: Meaning of each metric, by its name without "@k".
        pictures: PNG files by what they show; those that are missing are left out.
    """
    last = list(stages.values())[-1]
    chosen_by = (monitor or "").partition("/")[2]
    photos = Thumbnails(dataset)
    searched = [sample for sample in last.samples if sample.search is not None and len(sample.place)]
    searched.sort(key=lambda sample: sample.direction != chosen_by.rpartition("/")[0])
    html = _template().render(
        title=title,
        facts=dict(facts),
        stages=list(stages),
        tables=_tables(stages, chosen_by, dict(meanings or {})),
        directions=[_direction(sample, stages, photos, texts, chosen_by) for sample in searched],
        pictures={says: _picture(path) for says, path in (pictures or {}).items() if path.is_file()},
        least=LEAST,
        thumbnails=photos.rules(),
    )
    write_text(file, html)


def _template() -> Any:
    environment = Environment(
        loader=PackageLoader(__package__ or "", package_path=""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["words"] = lambda name: name.replace("_", " ")
    return environment.get_template("report.html.jinja")


def _tables(stages: Mapping[str, Outcome], chosen_by: str, meanings: Mapping[str, str]) -> list[dict[str, Any]]:
    """Figures by direction or first word, slices left out, those with `chosen_by` first, those of neither last."""
    last = list(stages.values())[-1]
    slices, directions = ({one.direction for one in samples} for samples in (last.parts, last.samples))
    differences = _differences(stages)
    tables: dict[str, list[dict[str, Any]]] = {}
    for name in last.figures:
        of, _, metric = name.rpartition("/")
        if of in slices:
            continue
        if of not in directions:  # such as triplet/order_accuracy/text
            of, metric = name.split("/", 1) if "/" in name else ("", name)
        cells = [_cell(metric, name, outcome) for outcome in stages.values()]
        apart, digits = cells[-1]["value"] - cells[0]["value"], cells[-1]["digits"]
        told = abs(apart) > 0 or name in differences  # none of nan, and none of what is the same by nature
        change = {"text": f"{apart:+.{digits}f}" if told else "", "edges": "", "sure": False}
        if name in differences:
            low, high, change["sure"] = differences[name]
            change["edges"] = f"{low:+.{min(digits, 2)}f} to {high:+.{min(digits, 2)}f}"
        meaning = meanings.get(metric.partition("@")[0], "")
        row = {"metric": metric, "meaning": meaning, "chosen": name == chosen_by, "cells": cells, "change": change}
        tables.setdefault(of, []).append(row)
    order = sorted(tables, key=lambda of: (not of, all(not row["chosen"] for row in tables[of])))
    return [{"name": of, "rows": tables[of]} for of in order]


def _differences(stages: Mapping[str, Outcome]) -> dict[str, tuple[float, float, bool]]:
    """The paired interval of each direction's change from the first to the last stage, and whether it is sure."""
    if len(stages) < 2:
        return {}
    first, *_, last = (outcome.queries for outcome in stages.values())
    ends = (first, last)
    if any("direction" not in queries for queries in ends):
        return {}
    whole = [queries[queries["direction"] != ""].drop(columns=[*SLICED_BY], errors="ignore") for queries in ends]
    lines = compared(*whole).to_dict("records")
    return {f"{line['direction']}/{line['metric']}": (line["low"], line["high"], line["sure"]) for line in lines}


def _cell(metric: str, name: str, outcome: Outcome) -> dict[str, Any]:
    value = outcome.figures.get(name, math.nan)
    low, high = outcome.intervals.get(name, (math.nan, math.nan))
    share = 0 <= low <= high <= 1 + 1e-6 and not is_median(metric)
    large = max(abs(value), 0 if math.isnan(high) else abs(high)) > 2
    digits = 0 if metric in COUNTS else 1 if large or is_median(metric) else 3
    text = DASH if math.isnan(value) else f"{value:,.{digits}f}"
    edges = "" if math.isnan(low) else f"{low:,.{min(digits, 2)}f}{DASH}{high:,.{min(digits, 2)}f}"
    return {"value": value, "text": text, "edges": edges, "low": low, "high": high, "share": share, "digits": digits}


def _direction(
    sample: Sample, stages: Mapping[str, Outcome], photos: Thumbnails, texts: Sequence[str], chosen_by: str
) -> dict[str, Any]:
    """What there is to see of one direction."""
    search = sample.search
    assert search is not None  # only such samples are shown
    last = list(stages.values())[-1]
    page = _Page(search, Hits(search), photos, texts, _ranks(sample, stages))
    metric = _headline(sample, chosen_by)
    parts = [part for part in last.parts if part.search is search and part.direction.startswith(f"{sample.direction}/")]
    bars = [_bar(part, sample, stages, metric) for part in parts if metric]
    bars.sort(key=lambda bar: (bar["count"] < LEAST, bar["value"]))
    by_attribute: dict[str, list[dict[str, Any]]] = {}
    for bar in bars:
        by_attribute.setdefault(bar["attribute"], []).append(bar)
    spread = torch.linspace(0, len(sample.place) - 1, min(QUERIES, len(sample.place)), device=sample.place.device)
    return {
        "name": sample.direction,
        "count": len(sample.place),
        "gallery": len(search.gallery),
        "metric": metric,
        "curves": _curves(sample, stages),
        "slices": [
            {"attribute": name, "bars": some[:SLICES], "left": len(some[SLICES:])}
            for name, some in by_attribute.items()
        ],
        "grid": page.lines(sample.place[spread.long()], k=HITS),
        "worst": [
            {**bar, "lines": page.lines(_worst(bar["part"]), k=WORST_HITS, answer=True)} for bar in bars[:WORST_SLICES]
        ],
        "confusions": _confusions(sample, page),
    }


def _headline(sample: Sample, chosen_by: str) -> str | None:
    """The metric by which slices are compared: a share, that of `chosen_by` or else recall@1, where there is one."""
    shares = [name for name, value in sample.values.items() if _is_share(name, value)]
    return next((name for name in (chosen_by.rpartition("/")[2], "recall@1", *shares) if name in shares), None)


def _is_share(metric: str, value: Tensor) -> bool:
    return not is_median(metric) and bool((value >= 0).all() and (value <= 1).all())


def _bar(part: Sample, whole: Sample, stages: Mapping[str, Outcome], metric: str) -> dict[str, Any]:
    attribute, _, value = part.direction.removeprefix(f"{whole.direction}/").partition("/")
    cells = [_cell(metric, part.named(metric), outcome) for outcome in stages.values()]
    figure = cells[-1]["value"]
    about = {"attribute": attribute, "name": value, "count": len(part.place), "value": figure}
    return about | {"part": part, "cells": cells}


def _worst(part: Sample) -> Tensor:
    """Places of the queries that are worst by all metrics together that are shares."""
    shares = [value.float() for name, value in part.values.items() if _is_share(name, value)]
    return part.place[torch.stack(shares).sum(0).argsort(stable=True)[:WORST_QUERIES]]


def _ranks(sample: Sample, stages: Mapping[str, Outcome]) -> dict[str, dict[int, int]]:
    """Rank of the first right answer by stage and place of the query, where it is measured."""
    return {
        stage: dict(zip(one.place.tolist(), one.values[RANK].long().tolist(), strict=True))
        for stage, outcome in stages.items()
        for one in outcome.samples
        if one.direction == sample.direction and RANK in one.values
    }


def _curves(sample: Sample, stages: Mapping[str, Outcome]) -> list[dict[str, Any]]:
    """Points of recall@k over k, both from 0 to 1 and k by its logarithm, of each stage."""
    curves = []
    for stage, ranks in _ranks(sample, stages).items():
        most = max(2, len(sample.search.gallery)) if sample.search else 2
        k = np.unique(np.geomspace(1, most, 60).round())
        share = np.searchsorted(np.sort([*ranks.values()]), k, side="right") / max(1, len(ranks))
        across = np.log(k) / math.log(most)
        points = " ".join(f"{x:.4f},{1 - y:.4f}" for x, y in zip(across, share, strict=True))
        ticks = [(10**power, power * math.log(10) / math.log(most)) for power in range(1 + int(math.log10(most)))]
        curves.append({"stage": stage, "points": points, "ticks": ticks})
    return curves


@dataclass(frozen=True)
class _Page:
    """How the queries and the gallery of one search are shown."""

    search: Search
    hits: Hits
    photos: Thumbnails
    texts: Sequence[str]
    ranks: Mapping[str, Mapping[int, int]]

    def asked(self, place: int) -> Shown:
        one = int(self.search.asked[place])
        return Shown(self._text(one)) if self.search.by_text else self.photos.show(one)

    def found(self, item: int, *, right: bool = False) -> Shown:
        one = int(self.search.shown[item])
        return Shown(self._text(one), right=right) if self.search.among_texts else self.photos.show(one, right=right)

    def _text(self, one: int) -> str:
        return (self.texts if self.search.texts is None else self.search.texts)[one]

    def lines(self, place: Tensor, *, k: int, answer: bool = False) -> list[dict[str, Any]]:
        """A line a query: it, its rank by stage, its first k hits, and with `answer` one that is right."""
        answers = self.hits.answer(place).tolist()
        return [
            {
                "asked": self.asked(one),
                "ranks": {stage: ranks[one] for stage, ranks in self.ranks.items() if one in ranks},
                "answer": self.found(right, right=True) if answer else None,
                "hits": [self.found(hit.item, right=hit.right) for hit in hits],
            }
            for one, right, hits in zip(place.tolist(), answers, self.hits.first(place, k=k), strict=True)
        ]


def _confusions(sample: Sample, page: _Page) -> dict[str, Any] | None:
    """Pairs of the category that was asked for and another one that was found first, the most frequent first."""
    some = torch.linspace(0, len(sample.place) - 1, min(ASKED, len(sample.place)), device=sample.place.device).long()
    place = sample.place[some]
    item = page.hits.first_wrong(place)
    wrong = item >= 0
    asked = _kinds_asked(sample, page)[some[wrong].cpu().numpy()]
    found = _kinds_found(page)[item[wrong].cpu().numpy()]
    table = pd.DataFrame({"asked": asked, "found": found, "place": place[wrong].cpu(), "item": item[wrong].cpu()})
    told = ~table[["asked", "found"]].isin([SEVERAL, UNKNOWN, ""]).any(axis=1)
    table = table[told]
    other = table[table["asked"] != table["found"]]
    if table.empty:
        return None
    groups = sorted(other.groupby(["asked", "found"], sort=True), key=lambda group: -len(group[1]))
    return {
        "asked": len(some),
        "wrong": int(wrong.sum()),
        "same": len(table) - len(other),
        "left": len(groups[CONFUSIONS:]),
        "lines": [
            {
                "asked": names[0],
                "found": names[1],
                "count": len(group),
                "examples": [
                    (page.asked(one), page.found(other_one))
                    for one, other_one in zip(group["place"][:EXAMPLES], group["item"][:EXAMPLES], strict=True)
                ],
            }
            for names, group in groups[:CONFUSIONS]
        ],
    }


def _kinds_asked(sample: Sample, page: _Page) -> np.ndarray:
    """(A,) category that each query asks for; where a task has texts of its own, the text or the right one."""
    search = page.search
    if search.texts is None:
        return attributes_of(sample, page.photos.dataset.manifest)["category"].to_numpy(dtype=object)
    place = sample.place.cpu().numpy()
    if search.by_text:
        return np.array([page.asked(one).text for one in place], dtype=object)
    right = np.full(len(search.query), "", dtype=object)
    query, item = search.relevant.cpu().numpy().T
    right[query] = _kinds_found(page)[item]
    return right[place]


def _kinds_found(page: _Page) -> np.ndarray:
    """(G,) category of each photo, or of a product that a text is right for; of a task's own texts the texts."""
    search, category = page.search, page.photos.dataset.manifest["category"].to_numpy(dtype=object)
    shown = search.shown.cpu().numpy()
    if not search.among_texts:
        return category[shown]
    if search.texts is not None:
        return np.array([search.texts[one] for one in shown], dtype=object)
    found = np.full(len(shown), "", dtype=object)
    query, item = search.relevant.cpu().numpy().T
    found[item] = category[search.asked.cpu().numpy()[query]]
    return found


def _picture(path: Path) -> dict[str, Any]:
    """A picture's width, and an address that holds it; one of many bytes as JPEG."""
    data, picture = path.read_bytes(), load_image(path)
    png = "data:image/png;base64," + base64.b64encode(data).decode()
    return {"width": picture.width, "data": png if len(data) <= HEAVY else _data(picture, quality=80)}


def _data(photo: Image.Image, *, quality: int) -> str:
    stream = io.BytesIO()
    photo.save(stream, "JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()
