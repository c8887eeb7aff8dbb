"""A run once more, in a folder of its own: `python train.py --again RUN`; or on, in its own: `resume=RUN`.

`--again` is Hydra's own `--config-path RUN --config-name config`. As with any config, only of runs that you trust.
"""

from __future__ import annotations

import json
import platform
import shlex
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from fashionclip.app.run_folder import quoted
from fashionclip.atomic import write_text
from fashionclip.errors import InputError

CONFIG = "config.yaml"
MADE_WITH = "made_with.json"  # in a run's folder, beside its config
PACKAGES = ("fashionclip", "torch", "torchvision", "lightning", "open_clip_torch", "timm", "numpy", "pillow")


def expand_again(words: Sequence[str]) -> list[str]:
    """A command line with what Hydra knows in the place of `--again RUN`, and folders of configs as absolute paths.

    Hydra itself looks for `--config-path` beside the module that calls it, not where the command is run.

    Raises:
        SystemExit: RUN is no folder with a run's config.
    """
    words = list(words)
    for place, word in enumerate(words):
        option, equals, value = word.partition("=")
        if option not in ("--again", "--config-path", "-cp"):
            continue
        folder = Path(value if equals else "".join(words[place + 1 : place + 2])).expanduser().absolute()
        given = ["--config-path", str(folder)]
        if option == "--again":
            if not (folder / CONFIG).is_file():
                raise SystemExit(
                    f"error: --again {folder}: no {CONFIG} there. Expected the folder of a run of train.py."
                )
            given += ["--config-name", "config"]
        if folder.is_dir():
            words[place : place + 1 if equals else place + 2] = given
    return words


def expand_resume(words: Sequence[str]) -> list[str]:
    """A command line with what Hydra knows beside `resume=RUN`: the run's config and folder.

    Raises:
        SystemExit: RUN is no folder with a run's config.
    """
    words = list(words)
    for place, word in enumerate(words):
        key, _, value = word.partition("=")
        if key == "resume" and value not in ("", "null"):
            folder = Path(value).expanduser().absolute()
            if not (folder / CONFIG).is_file():
                raise SystemExit(f"error: resume={value}: no {CONFIG} there. Expected the folder of a run of train.py.")
            run = quoted(str(folder))
            hydra = [f"hydra.run.dir={run}", "hydra.output_subdir=null", f"++resume={run}"]
            words[place : place + 1] = ["--config-path", str(folder), "--config-name", "config", *hydra]
            break
    return words


def repeated_run() -> Path | None:
    """Folder of the run whose config this one is made from; None where it is made from configs/."""
    hydra = HydraConfig.get()
    main = [Path(source.path) for source in hydra.runtime.config_sources if source.provider == "main"]
    named = hydra.job.config_name in ("config", CONFIG)
    return main[0] if named and main and main[0].name != ".hydra" and (main[0] / CONFIG).is_file() else None


def check_places(cfg: DictConfig, run: Path, *, folder: Path) -> None:
    """Refuses the config of a run of long ago, which names places in that run's own folder.

    Args:
        cfg: The composed config.
        run: Folder of the run that is made again.
        folder: Folder of the repetition.

    Raises:
        InputError: With the command that makes the same run anew.
    """
    kept = Path(OmegaConf.select(cfg, "callbacks.checkpoint.dirpath") or folder).resolve()
    if kept.is_relative_to(run.resolve()) and not kept.is_relative_to(folder.resolve()):
        overrides = run / ".hydra" / "overrides.yaml"
        given = map(str, OmegaConf.load(overrides)) if overrides.is_file() else ["..."]
        raise InputError(
            f"{run / CONFIG}: is of an older version, and a run made from it would write over that run's weights. Run "
            f"its own command: python train.py {shlex.join(given)}"
        )


def made_with(fingerprint: str) -> dict[str, str]:
    """What figures depend on beside the config: versions of Python and packages, and the dataset's fingerprint."""
    found = {name: [found.version for found in metadata.distributions(name=name)] for name in PACKAGES}
    versions = {name: versions[0] for name, versions in found.items() if versions}
    return {"dataset": fingerprint, "python": platform.python_version(), **versions}


def write_made_with(folder: Path, now: dict[str, str]) -> None:
    """Keeps `made_with` in a run's folder."""
    write_text(folder / MADE_WITH, json.dumps(now, indent=2) + "\n")


def differences(run: Path, now: dict[str, str]) -> list[str]:
    """Lines that name what a run was made with and a repetition of it is not, or that nothing is known of it.

    Args:
        run: Folder of the run that is repeated.
        now: `made_with` of the repetition.
    """
    try:
        then = dict(json.loads((run / MADE_WITH).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return [f"{run / MADE_WITH}: not there or not readable, so data and packages are not compared with that run's"]
    lines = ["the dataset is another one than that run's"] if then.pop("dataset", None) != now["dataset"] else []
    names = [name for name in {**then, **now} if name != "dataset" and then.get(name) != now.get(name)]
    return lines + [f"{name} is {now.get(name, 'missing')}, was {then.get(name, 'missing')}" for name in names]
