"""From a dataset's config to its prepared folder."""

from __future__ import annotations

import shlex
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from fashionclip.errors import InputError
from fashionclip.manifest import PreparedDataset, read_dataset

NO_ARGUMENTS = ("prepared_on_use", "derive_from", "check_only")  # keys of a dataset that its converter does not take


def prepare(cfg: DictConfig) -> PreparedDataset:
    """Runs a dataset's converter.

    Raises:
        InputError: Root or source is not given, or not as the converter needs it.
    """
    _check_keys(cfg)
    cfg = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key not in NO_ARGUMENTS])
    if OmegaConf.is_missing(cfg, "source"):
        if not cfg.get("download"):
            raise InputError(
                "dataset.source: not given. Expected the raw data (of judgements-derived: a prepared dataset): "
                "dataset.source=DIR_OR_FILE."
            )
        cfg.source = "."
    # Plain dicts and lists: a converter knows nothing of omegaconf, which makes a config of a dataclass in a dict.
    dataset: PreparedDataset = instantiate(cfg, _convert_="all")
    return dataset


def open_dataset(cfg: DictConfig) -> PreparedDataset:
    """The prepared dataset of a config; what needs no source from outside is prepared on first use.

    Raises:
        InputError: It is not prepared, or breaks the manifest's contract.
    """
    _check_keys(cfg)
    if cfg.get("prepared_on_use"):
        return prepare(cfg)
    if Path(cfg.root, "dataset.json").is_file():
        return read_dataset(cfg.root)
    if not OmegaConf.is_missing(cfg, "source") and cfg.source is None:
        return prepare(cfg)
    raise InputError(
        f"dataset.root={cfg.root}: no prepared dataset there. Run: "
        f"python prepare.py dataset={cfg.name} dataset.source=DIR {shlex.quote(f'dataset.root={cfg.root}')}"
    )


def _check_keys(cfg: DictConfig) -> None:
    if not cfg.root:
        raise InputError("dataset.root: not given. Expected the folder of the prepared dataset: dataset.root=DIR.")
    if cfg.get("derive_from"):
        raise InputError(
            "dataset.derive_from: judgements made of a prepared dataset are a source of their own. Use "
            f"dataset=judgements-derived {shlex.quote(f'dataset.source={cfg.derive_from}')}"
        )
