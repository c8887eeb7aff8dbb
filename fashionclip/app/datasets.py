"""From a dataset's config to its prepared folder."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from fashionclip.errors import InputError
from fashionclip.manifest import PreparedDataset, read_dataset


def prepare(cfg: DictConfig) -> PreparedDataset:
    """Runs a dataset's preparation, and says whether it took the place of another dataset or left a split empty.

    Raises:
        InputError: Root or source is not given, or not as the preparation needs it.
    """
    _check_root(cfg)
    cfg = cfg.copy()
    if OmegaConf.is_missing(cfg, "source"):
        if not cfg.get("download"):
            raise InputError("dataset.source: not given. Expected the folder of the raw data: dataset.source=DIR.")
        cfg.source = "."
    before = _info(Path(cfg.root))
    dataset: PreparedDataset = instantiate(cfg)
    after = _info(Path(cfg.root))
    if before and after["fingerprint"] != before["fingerprint"]:
        print(
            f"{cfg.root}: took the place of a dataset of other source, content or settings. Runs trained on that one "
            "keep its fingerprint. To keep both, prepare into another dataset.root."
        )
    empty = [name for name, count in after.get("counts", {}).get("splits", {}).items() if not count]
    if empty and after != before:
        print(f"{cfg.root}: no photo fell into {' and '.join(empty)}. Prepare more, or with other dataset.ratios.")
    return dataset


def _info(root: Path) -> dict[str, Any]:
    """What `dataset.json` holds; nothing where no dataset is prepared."""
    file = root / "dataset.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def open_dataset(cfg: DictConfig) -> PreparedDataset:
    """The prepared dataset of a config; what needs no source from outside is prepared on first use.

    Raises:
        InputError: It is not prepared, or breaks the manifest's contract.
    """
    _check_root(cfg)
    if cfg.name == "demo":
        return prepare(cfg)  # does nothing where it stands already
    if not Path(cfg.root, "dataset.json").is_file():
        if not OmegaConf.is_missing(cfg, "source") and cfg.source is None:
            return prepare(cfg)
        raise InputError(
            f"dataset.root={cfg.root}: no prepared dataset there. Run: "
            f"python prepare.py dataset={cfg.name} dataset.source=DIR {shlex.quote(f'dataset.root={cfg.root}')}"
        )
    return read_dataset(cfg.root)


def _check_root(cfg: DictConfig) -> None:
    if not cfg.root:
        raise InputError("dataset.root: not given. Expected the folder of the prepared dataset: dataset.root=DIR.")
