"""Judgements whether a text describes a photo, from CSV or from another prepared dataset, to a prepared dataset.

Beside the manifest there is `judgements.parquet`: `image_id, text, label` ("match", "mismatch"), `kind` (what is wrong
of a mismatch: "given", "shuffled", "colour", "category", "material", "feature"; of a match, what is wrong of the
mismatches that it is compared with, or "match": of all), `variation` ("", "synonym", "misspelling", "less detail"),
`made` ("given", "own", "borrowed"), `split` and `text_only` (see `text_only_scores`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from fashionclip.errors import InputError
from fashionclip.manifest import (
    PreparedDataset,
    begin_dataset,
    check_labels,
    check_ratios,
    fingerprint_of,
    finish_dataset,
    preparation,
    read_dataset,
)
from fashionclip.prepare.judgements.facts import row_facts, split_facts
from fashionclip.prepare.judgements.from_dataset import derive_judgements
from fashionclip.prepare.judgements.judged_photos import choose_root, locate, look_at
from fashionclip.prepare.judgements.read_csv import find_tables, read_tables
from fashionclip.prepare.judgements.report import print_report, report_on, write_report
from fashionclip.prepare.judgements.rules import OF_ALL_ROWS, JudgementLimits
from fashionclip.prepare.judgements.splits import group_photos, split_groups
from fashionclip.prepare.judgements.text_only import print_text_only, text_only_auroc, text_only_scores
from fashionclip.prepare.near_duplicates import near_pairs
from fashionclip.prepare.photos import write_photos


@preparation
def prepare_match_mismatch(
    *,
    name: str,
    source: Path | str | None,
    derive_from: Path | str | None,
    root: Path | str,
    columns: Mapping[str, str | None],
    image_root: Path | str | None,
    allow_outside_root: bool,
    check_only: bool,
    drop_errors: bool,
    report: Path | str,
    limits: JudgementLimits,
    tokenizer: Any,
    matches: int,
    mismatches: int,
    kinds: Mapping[str, float],
    variations: Mapping[str, float],
    max_side: int,
    ratios: Mapping[str, float],
    seed: int,
    workers: int | None = None,
) -> PreparedDataset | None:
    """Checks and prepares judgements from a CSV, or makes them from another prepared dataset.

    Args:
        name: Name of the dataset, for the record.
        source: A CSV, or a folder with one, or with `train.csv` and `val.csv` (and `test.csv`); None to derive.
        derive_from: Root of a prepared dataset to make judgements from; None to read `source`.
        root: Folder of the prepared dataset.
        columns: Header of each column, see `read_tables`.
        image_root: Folder that relative paths begin at; None: that of the CSV or the one above, where the photos are.
        allow_outside_root: Take photos that lie elsewhere.
        check_only: Print and write the report and prepare nothing.
        drop_errors: Leave out rows with errors instead of refusing the table.
        report: Where the report is written, as JSON.
        limits: Of the checks that warn.
        tokenizer: Of the model, to count tokens, see `count_tokens`.
        matches, mismatches, kinds, variations: See `derive_judgements`.
        max_side: Longer side of a written photo, in pixels, at most.
        ratios: Share of train, val and test, where the table gives no splits; a `val.csv` without `test.csv` is
            divided between val and test in their proportion. Splits are balanced by label and keep together what
            shows the same photo or product (without a column for it: what has a matching text in common).
        seed: Of the split and of all that is made.
        workers: Processes, default one a core.

    Returns:
        The dataset; None with `check_only`.

    Raises:
        InputError: Source or settings are not usable, or checks found errors.
    """
    check_ratios(ratios)
    if source is None and derive_from is None:
        raise InputError(
            f"dataset.root={root}: nothing to prepare it from, neither dataset.source nor dataset.derive_from is "
            "given. Give a CSV with dataset.source=FILE, or a prepared dataset with dataset.derive_from=ROOT."
        )
    if source is not None and derive_from is not None:
        raise InputError(
            f"dataset.source={source}, dataset.derive_from={derive_from}: expected only one of them. Leave one out: "
            "source is a CSV, derive_from a prepared dataset."
        )
    root = Path(root)
    if derive_from is not None:
        if check_only:
            raise InputError("dataset.check_only=true: checks a CSV. Give dataset.source=FILE instead of derive_from.")
        return derive_judgements(
            name=name,
            derive_from=Path(derive_from),
            root=root,
            matches=matches,
            mismatches=mismatches,
            kinds=kinds,
            variations=variations,
            max_side=max_side,
            seed=seed,
            workers=workers,
        )

    if limits.context_length is None:
        limits = replace(limits, context_length=tokenizer.context_length)
    if image_root is not None and not Path(image_root).is_dir():
        raise InputError(f"dataset.image_root={image_root}: no such folder. Give the one that paths begin at, or null.")
    tables = find_tables(Path(str(source)))
    read = read_tables(tables, columns=columns)
    paths = [path for path in read.rows["image_path"].unique() if path]
    top = Path(image_root) if image_root is not None else choose_root(paths, table=next(iter(tables.values())))
    located = {path: locate(path, root=top) for path in paths}
    allowed = {path: where for path, where in located.items() if where.inside or allow_outside_root}
    files = sorted({where.file for where in allowed.values() if os.path.isfile(where.file)})
    looks = dict(zip(files, look_at(files, workers=workers), strict=True))
    facts = row_facts(read.rows, located=located, looks=looks, tokenizer=tokenizer, allow_outside=allow_outside_root)
    found = report_on(facts, split_facts(facts), read.unread, source=Path(str(source)), root=top, limits=limits)
    print_report(found)
    write_report(found, Path(report))
    print(f"report: {report}")
    of_rows = all(finding.check not in OF_ALL_ROWS for finding in found.errors)
    if found.errors and (check_only or not of_rows or not drop_errors):
        names = ", ".join(f"{finding.check} ({finding.count})" for finding in found.errors)
        raise InputError(
            f"{source}: {names}; the table above and {report} say where. Mend them"
            + ("." if check_only or not of_rows else ", or leave these rows out with dataset.drop_errors=true.")
        )
    if check_only:
        return None
    kept = facts.drop(index=list(found.broken))
    if kept.empty:
        raise InputError(f"{source}: no rows left of {len(facts)} read; {report} says why. Mend them, then re-run.")

    config: dict[str, Any] = {
        "name": name,
        "columns": dict(columns),
        "allow_outside_root": allow_outside_root,
        "max_side": max_side,
        "ratios": dict(ratios),
        "seed": seed,
    }
    data = b"".join(table.read_bytes() for table in tables.values())
    fingerprint = fingerprint_of({**config, "root": str(top)}, files, data=data)
    partial = begin_dataset(root, fingerprint=fingerprint)
    if partial is None:
        print(f"{root}: already prepared from this source with these settings.")
        return read_dataset(root)

    where = facts["where"]
    dropped = [(facts["image_path"][row], check, where[row]) for row, check in found.broken.items()]
    for line in read.unread.to_dict("records"):
        dropped.append(("", line["check"], f"{line['file']}:{line['line']}: {line['says']}"))
    photos = kept.drop_duplicates("key").set_index("key")
    ids = _image_ids(list(photos.index))
    jobs = [(located[path].file, partial / f"images/{ids[key]}.jpg") for key, path in photos["image_path"].items()]
    outcomes = write_photos(jobs, max_side=max_side, workers=workers)
    hashes = [outcome.hash for outcome in outcomes]

    manifest, judgements = _tables(kept.assign(image_id=kept["key"].map(ids)), hashes, ratios=ratios, seed=seed)
    check_labels(judgements["label"], judgements["split"], where=str(source), needed=("train",))
    judgements["text_only"] = text_only_scores(judgements)
    counts = judgements.groupby(["split", "label"]).size().unstack(fill_value=0).to_dict("index")
    dataset = finish_dataset(
        partial,
        root,
        manifest=manifest,
        dropped=pd.DataFrame(dropped, columns=["image_id", "reason", "detail"]),
        fingerprint=fingerprint,
        read=len(facts),
        config={
            **config,
            "source": str(source),
            "judgements": counts,
            "text_only_auroc": text_only_auroc(judgements),
        },
        tables={"judgements": judgements},
    )
    write_report(found, root / "validation.json")
    print(f"{root}: {len(judgements)} judgements of {len(manifest)} photos, split {counts}")
    print_text_only(dataset.info["config"]["text_only_auroc"])
    print(f"dropped {dataset.info['counts']['dropped'] or 'none'} (listed in dropped.csv)")
    return dataset


def _tables(
    rows: pd.DataFrame, hashes: list[str], *, ratios: Mapping[str, float], seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The manifest and the judgements of facts with `image_id`; hashes are of the photos in order of first mention."""
    photos = rows.drop_duplicates("image_id").set_index("image_id", drop=False)
    matching = rows[rows["label"] == "match"].drop_duplicates("image_id").set_index("image_id")["text"]
    open_split = "val" if (rows["split"] != "").any() else ""  # whose rows may yet be dealt to several splits
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


def _image_ids(keys: list[str]) -> dict[str, str]:
    """Keys without suffix, where that leaves them apart."""
    stems = pd.Series([Path(key).with_suffix("").as_posix() for key in keys], dtype=object)
    alone = ~stems.duplicated(keep=False)
    return {key: stem if only else key for key, stem, only in zip(keys, stems, alone, strict=True)}
