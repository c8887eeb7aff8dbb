"""Judgements of whether a text describes a photo, from CSV to a prepared dataset.

Beside the manifest there is `judgements.parquet`: `image_id, text, label` ("match", "mismatch"), `kind` (what is wrong
in a mismatch: "given", "shuffled", "colour", "category", "material", "feature"; of a match, the kind of mismatches that
it is compared with, or "match": all), `variation` ("", "synonym", "misspelling", "less detail"),
`made` ("given", "own", "borrowed"), `split` and `text_only` (of `text_only_scores`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from fashionclip.errors import InputError
from fashionclip.manifest import RATIOS, PreparedDataset, check_labels, ratios_with_val
from fashionclip.prepare.conversion import conversion
from fashionclip.prepare.find_photos import ids_of
from fashionclip.prepare.judgements.read_csv import COLUMNS, find_tables
from fashionclip.prepare.judgements.report import print_report, write_report
from fashionclip.prepare.judgements.rules import OF_ALL_ROWS, JudgementLimits
from fashionclip.prepare.judgements.splits import divided_split, group_photos, split_groups
from fashionclip.prepare.judgements.text_only import measured
from fashionclip.prepare.judgements.validate import LIMITS, validate_judgements
from fashionclip.prepare.near_duplicates import near_pairs, twins_across
from fashionclip.prepare.photos import write_photos


def prepare_judgements_csv(
    *,
    name: str = "judgements-csv",
    source: Path | str,
    root: Path | str,
    columns: Mapping[str, str | None] = COLUMNS,
    image_root: Path | str | None = None,
    allow_outside_root: bool = False,
    drop_errors: bool = False,
    report: Path | str = "validation.json",
    limits: JudgementLimits = LIMITS,
    tokenizer: Any,
    max_side: int = 448,
    ratios: Mapping[str, float] = RATIOS,
    seed: int = 0,
    workers: int | None = None,
) -> PreparedDataset:
    """Checks judgements, and prepares them.

    Splits are balanced by label and keep together what shows the same photo or product (without a column for it: what
    has a matching text in common). Without a `test.csv`, a `val.csv` is divided between val and test; without a
    `val.csv`, a `train.csv` between train and val.

    Args:
        name: Name of the dataset, for the record.
        source: A CSV, or a folder with one, or with `train.csv` and `val.csv` (and `test.csv`).
        root: Folder of the prepared dataset.
        columns: Header of each column, as `read_tables` takes it.
        image_root: Folder that relative paths begin at; None: that of the CSV or the one above, where the photos are.
        allow_outside_root: Whether photos may lie elsewhere.
        drop_errors: Whether to leave out rows with errors instead of refusing the table.
        report: File that the report is written to, as JSON.
        limits: Bounds of the checks that warn.
        tokenizer: Tokenizer of the model, as `count_tokens` takes it.
        max_side: Longer side of a written photo, in pixels, at most; about twice what the backbone sees.
        ratios: Shares of train, val and test, where the table gives no splits; without val a tenth of train becomes
            val.
        seed: Seed of the split.
        workers: Number of processes, by default one a core.

    Raises:
        InputError: Source or settings are not usable, or checks found errors.
    """
    ratios = ratios_with_val(ratios)
    found = validate_judgements(
        source,
        columns=columns,
        image_root=image_root,
        allow_outside_root=allow_outside_root,
        limits=limits,
        tokenizer=tokenizer,
        workers=workers,
    )
    print_report(found)
    write_report(found, Path(report))
    print(f"report: {report}")
    if found.errors and not (drop_errors and OF_ALL_ROWS.isdisjoint(found.errors)):
        names = ", ".join(f"{check} ({count})" for check, count in found.errors.items())
        remedy = (
            ", or leave these rows out with dataset.drop_errors=true" if OF_ALL_ROWS.isdisjoint(found.errors) else ""
        )
        raise InputError(f"{source}: {names}; the table above and {report} say where. Mend them{remedy}.")
    left_out = found.left_out
    kept = found.rows[~found.rows.index.isin(left_out["row"])]
    if kept.empty:
        raise InputError(
            f"{source}: no rows left of {len(found.rows)} read; {report} says why. Mend them, then re-run."
        )
    paths = ["" if row < 0 else found.rows["image_path"][row] for row in left_out["row"]]
    details = left_out["where"] + ": " + left_out["says"]

    config = {
        "name": name,
        "columns": dict(columns),
        "allow_outside_root": allow_outside_root,
        "max_side": max_side,
        "ratios": ratios,
        "seed": seed,
    }
    files = sorted({file for file in found.rows["photo_file"][found.rows["inside"] & found.rows["found"]] if file})
    data = b"".join(table.read_bytes() for table in find_tables(Path(source)).values())
    besides = {"root": str(found.root), "texts": "mended"}  # judgements with texts as they stood are not these
    with conversion(Path(root), config=config, files=files, data=data, besides=besides) as new:
        if new.standing:
            return new.standing
        photos = kept.drop_duplicates("key")
        ids = ids_of(photos["key"])
        jobs = [
            (file, new.folder / f"images/{ids[key]}.jpg")
            for key, file in zip(photos["key"], photos["photo_file"], strict=True)
        ]
        written = write_photos(jobs, max_side=max_side, workers=workers)
        kept = kept.assign(image_id=kept["key"].map(ids))
        manifest, judgements = _tables(kept, [photo.hash for photo in written], ratios=ratios, seed=seed)
        check_labels(judgements["label"], judgements["split"], where=str(source), needed=("train",))
        write_report(found, new.folder / "validation.json")
        return new.finish(
            manifest=manifest,
            dropped=list(zip(paths, left_out["check"], details, strict=True)),
            read=len(found.rows),
            twins=twins_across(manifest["image_id"].tolist(), [p.twin for p in written], manifest["split"].tolist()),
            **measured(judgements, source=str(source)),
        )


def _tables(
    rows: pd.DataFrame, hashes: list[str], *, ratios: Mapping[str, float], seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The manifest and the judgements of facts with `image_id`; hashes are of the photos in order of first mention."""
    photos = rows.drop_duplicates("image_id").set_index("image_id", drop=False)
    matching = rows[rows["label"] == "match"].drop_duplicates("image_id").set_index("image_id")["text"]
    open_split = divided_split(rows["split"])[0] if (rows["split"] != "").any() else ""
    is_open = rows["split"] == open_split
    loose = photos.index.isin(rows.loc[is_open, "image_id"])
    pictures = [(one, other) for one, other in near_pairs(hashes) if loose[one] and loose[other]]
    groups = group_photos(rows, list(photos.index), pictures=pictures, by_text=is_open)
    group = dict(zip(photos.index, groups, strict=True))
    rows = rows.assign(group_id=rows["image_id"].map(group))
    split = split_groups(rows, ratios=ratios, seed=seed)
    manifest = pd.DataFrame(
        {
            "image_id": photos["image_id"],
            "path": "images/" + photos["image_id"] + ".jpg",
            "split": [split[name] for name in groups],
            "domain": "catalog",
            "item_id": photos["product"].where(photos["product"] != "", photos["image_id"]),
            "group_id": groups,
            "text": matching.reindex(photos.index).fillna(""),
            "category": "",
            "source_path": photos["image_path"],
        }
    )
    judgements = pd.DataFrame(
        {
            "image_id": rows["image_id"],
            "text": rows["text"],
            "label": rows["label"],
            "kind": rows["label"].map({"match": "match", "mismatch": "given"}),
            "variation": "",
            "made": "given",
            "split": rows["group_id"].map(split),
        }
    )
    return manifest.reset_index(drop=True).astype(str), judgements.reset_index(drop=True)
