"""Judging a catalogue's descriptions: a CSV of photos and texts is written again with verdicts, however long it is."""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path

from tqdm import tqdm

from fashionclip.atomic import beside, naming, write_text
from fashionclip.errors import InputError
from fashionclip.foreign_text import safe_cell
from fashionclip.manifest import LABELS
from fashionclip.retrieval.judge.judge import Judge, Verdict
from fashionclip.tables.photo_names import choose_root, locate
from fashionclip.tables.table import Layout, columns_of, layout_of, records

REQUIRED = ("image_path", "text")
LABEL = "label"
ADDED = ("score", "probability", "verdict", "error")
ROWS = 128  # judged and written at a time
LOOKED_AT = 100  # rows by which the folder is found where paths begin


@dataclass
class Judged:
    """The result of judging a table; on disk also how far a stopped run has come.

    Attributes:
        fingerprint: Digest of table, export and settings; a stopped run goes on only with the same.
        size: Number of bytes written.
        rows: Number of rows written, with those that could not be judged.
        errors: Number of rows that could not be judged.
        mismatches: Number of rows called mismatch.
        labelled: Number of judged rows by the label that they bring.
        right: Number of those whose verdict agrees, by label.
    """

    fingerprint: str
    size: int = 0
    rows: int = 0
    errors: int = 0
    mismatches: int = 0
    labelled: dict[str, int] = field(default_factory=lambda: dict.fromkeys(LABELS, 0))
    right: dict[str, int] = field(default_factory=lambda: dict.fromkeys(LABELS, 0))

    @property
    def accuracy(self) -> float | None:
        """Mean of the shares of matches and of mismatches judged right, in [0, 1]; None without both labels."""
        if not all(self.labelled.values()):
            return None
        return sum(self.right[label] / self.labelled[label] for label in LABELS) / len(LABELS)

    def count(self, verdict: Verdict | str, label: str) -> None:
        """Counts a row, by its verdict, or the reason why it has none, and the content of its label."""
        self.rows += 1
        if isinstance(verdict, str):
            self.errors += 1
            return
        self.mismatches += verdict.verdict == "mismatch"
        if label in LABELS:
            self.labelled[label] += 1
            self.right[label] += verdict.verdict == label


def judge_table(
    judge: Judge, table: Path, to: Path, *, image_root: Path | None = None, allow_outside_root: bool = False
) -> Judged:
    """Writes a CSV again, in UTF-8 and with its own separator, and adds the columns of `ADDED`.

    A row that cannot be judged has the reason in `error` and nothing in the other added columns. A cell that a
    spreadsheet would take for a formula gets an apostrophe before it. Rows are written as they are judged, to a file
    beside `to`, which is renamed in the end; a stopped run goes on with that file.

    Args:
        judge: Judge to ask.
        table: CSV with the columns `image_path` and `text`, and perhaps `label`, which verdicts are compared with.
        to: CSV to write.
        image_root: Folder at which relative paths begin; None: the table's folder or the one above it.
        allow_outside_root: Whether to take photos that lie outside it.

    Raises:
        InputError: The table cannot be read, lacks a column or has one of `ADDED`; or `to` cannot be written, or holds
            something else than verdicts.
    """
    if not table.is_file():
        raise InputError(f"{table}: no such file. Expected a CSV with the columns {' and '.join(REQUIRED)}.")
    if to.is_dir() or to.resolve() == table.resolve():
        raise InputError(f"{to}: {'a folder' if to.is_dir() else 'the table itself'}. Name another file to write.")
    if to.is_file() and not _is_judged(to):
        raise InputError(f"{to}: holds something else than verdicts, so it is left alone. Name another file to write.")
    layout = layout_of(table, titles=(*REQUIRED, LABEL))
    header, place = _header(table, layout)
    first = [row.cells for row in islice(records(table, layout), 1, 1 + LOOKED_AT) if len(row.cells) == len(header)]
    paths = [cells[place["image_path"]].strip() for cells in first]
    root = choose_root(paths, table=table) if image_root is None else image_root
    settings = [judge.encoder.digest, judge.threshold, judge.scale, judge.bias, str(root.resolve()), allow_outside_root]
    partial, state = (beside(to, f".fashionclip-{end}") for end in ("new", "state"))
    to.parent.mkdir(parents=True, exist_ok=True)
    done = _resumed(partial, state, fingerprint=_fingerprint(table, settings))

    total = sum(1 for _ in records(table, layout)) - 1
    rows = islice(records(table, layout), 1 + done.rows, None)
    with (
        naming(to),
        partial.open("r+b" if done.size else "wb") as out,
        tqdm(total=total, initial=done.rows, desc="judging", unit="row") as progress,
    ):
        if not done.size:
            marked = layout.encoding in ("utf-8-sig", "utf-16")
            out.write(codecs.BOM_UTF8 if marked else b"")  # by which spreadsheets recognise UTF-8
            out.write(_lines([[*header, *ADDED]], layout))
        else:
            out.seek(done.size)
            out.truncate()
        while group := list(islice(rows, ROWS)):
            asked = [row.fault or _question(row.cells, header, place, root, allow_outside_root) for row in group]
            answers = iter(judge.many([question for question in asked if not isinstance(question, str)]))
            written = []
            for row, question in zip(group, asked, strict=True):
                verdict = f"line {row.line}: {question}" if isinstance(question, str) else next(answers)
                kept = [*row.cells, *[""] * len(header)][: len(header)]
                written.append([*kept, *_added(verdict)])
                done.count(verdict, kept[place[LABEL]].strip().casefold() if LABEL in place else "")
            out.write(_lines(written, layout))
            out.flush()
            done.size = out.tell()
            write_text(state, json.dumps(asdict(done)), sync=False)
            progress.update(len(group))
        os.fsync(out.fileno())
    os.replace(partial, to)
    state.unlink(missing_ok=True)
    return done


def _is_judged(file: Path) -> bool:
    """Whether a file is empty, or has our columns at the end of its first line."""
    with file.open("rb") as stream:
        first = stream.readline()
    return not first or tuple(re.findall(r"\w+", first.decode("utf-8", "replace"))[-len(ADDED) :]) == ADDED


def _header(table: Path, layout: Layout) -> tuple[list[str], dict[str, int]]:
    """The titles, and the places of image_path, text and perhaps label among them."""
    titles = next(records(table, layout), None)
    header = [cell.strip() for cell in titles.cells] if titles else []
    place = columns_of(header, {name: name for name in (*REQUIRED, LABEL)})
    missing = [name for name in REQUIRED if name not in place]
    taken = sorted(columns_of(header, {name: name for name in ADDED}))
    if missing:
        raise InputError(f"{table}: no column {' and '.join(missing)}; has {header}. Name them so in its first line.")
    if taken:
        raise InputError(f"{table}: has {', '.join(taken)} already, which are to be written. Rename or remove them.")
    return header, place


def _question(
    cells: Sequence[str], header: Sequence[str], place: Mapping[str, int], root: Path, allow_outside_root: bool
) -> tuple[Path, str] | str:
    """The photo and the text to judge, or the reason why there are none."""
    if len(cells) != len(header):
        return f"{len(cells)} cells, expected {len(header)}"
    path, text = cells[place["image_path"]].strip(), " ".join(cells[place["text"]].split())
    if empty := [name for name, value in zip(REQUIRED, (path, text), strict=True) if not value]:
        return f"{', '.join(empty)} is empty"
    where = locate(path, root=root)
    if not where.inside and not allow_outside_root:
        return f"{path!r} lies outside {root}; --allow-outside-root takes it"
    return where.file, text


def _added(verdict: Verdict | str) -> list[str]:
    if isinstance(verdict, str):
        return ["", "", "", verdict]
    return [f"{verdict.score:.6f}", f"{verdict.probability:.6f}", verdict.verdict, ""]


def _lines(rows: Sequence[Sequence[str]], layout: Layout) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=layout.separator, lineterminator="\n").writerows(map(safe_cell, row) for row in rows)
    return text.getvalue().encode("utf-8", "backslashreplace")  # a folder's name, in an error, may not be UTF-8


def _fingerprint(table: Path, settings: Sequence[object]) -> str:
    digest = hashlib.sha256(json.dumps(settings).encode())
    with table.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _resumed(partial: Path, state: Path, *, fingerprint: str) -> Judged:
    """How far a stopped run with the same table, export and settings has come; nothing where there was none."""
    try:
        done = Judged(**json.loads(state.read_text(encoding="utf-8")))
        if done.fingerprint == fingerprint and partial.stat().st_size >= done.size:
            return done
    except (OSError, ValueError, TypeError):  # there is none, or one of another version
        pass
    return Judged(fingerprint=fingerprint)
