"""What `train.py`, `prepare.py` and `evaluate.py` share: a user's mistake ends in one message, not in a traceback."""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.types import RunMode

from fashionclip.app.trial import TRIAL
from fashionclip.errors import InputError, Stopped
from fashionclip.foreign_text import shown

ERROR = "error.txt"  # in the folder of a job of a multirun that failed
EXTRAS = {"optuna": "sweep", "peft": "lora"}  # which bring a module
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
LOST_PROCESS = ("DistBackendError", "DistNetworkError", "DistStoreError")  # of torch, which is not imported here
NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)
REFUSED_ARGUMENTS = ("MisconfigurationException", "ModuleNotFoundError", "RuntimeError", "TypeError", "ValueError")


@contextmanager
def one_message() -> Iterator[None]:
    """Ends the program with the message of an `InputError`, also where Hydra has wrapped it, or of a signal.

    A full disk and a place that must not be written or read are the user's to mend, too; and of several processes that
    train together, those that outlive another one end with a line. A job of a multirun ends with the message alone, so
    that the others go on: its summary reads the message in `error.txt`, as that of a search does.
    """
    try:
        yield
    except (Exception, KeyboardInterrupt, Stopped) as error:
        for link in _chain(error):
            if isinstance(link, (KeyboardInterrupt, Stopped)):  # perhaps within C++ code, which raised another error
                raise _end(link) from None
        message = next(filter(None, map(_message, _chain(error))), None)
        of_several = HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
        if of_several or TRIAL in os.environ:
            with suppress(OSError):  # such as a full disk
                said = shown(message or f"{type(error).__name__}: {error}", lines=True)
                Path(HydraConfig.get().runtime.output_dir, ERROR).write_text(said, encoding="utf-8")
        if of_several:
            print(f"error: {shown(message, lines=True)}" if message else traceback.format_exc(), file=sys.stderr)
            return
        if message is None:
            raise
        raise SystemExit(f"error: {shown(message, lines=True)}") from None


def _end(stop: KeyboardInterrupt | Stopped) -> SystemExit:
    message = "stopped; the same command goes on from here, or starts anew"
    if isinstance(stop, Stopped):
        message = str(stop)
    if message:
        print(message, file=sys.stderr)
    return SystemExit(stop.code if isinstance(stop, Stopped) else 128 + signal.SIGINT)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and those behind it, each once: `raise e from e` is its own cause."""
    seen = list[BaseException]()
    while error is not None and error not in seen:
        seen.append(error)
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _message(error: BaseException) -> str | None:
    """What to tell the user; None for what is not a mistake of theirs."""
    if isinstance(error, InputError):
        message = str(error)
        if "Original Traceback" in message:  # torch's wrapping of what a loading process raised
            message = message.rpartition(f"{type(error).__name__}: ")[2]
        return message.strip()
    if isinstance(error, ModuleNotFoundError) and not str(error.name).startswith("fashionclip"):
        package = f"'fashionclip[{EXTRAS[error.name]}]'" if error.name in EXTRAS else "fashionclip"
        return f"No module named {error.name!r}, which a lean install leaves out. Run: pip install {package}"
    if isinstance(error, OSError) and error.errno in (*NO_ROOM, *NOT_WRITABLE):
        place = f"{error.filename}: " if error.filename else ""
        if error.errno in NO_ROOM:
            return f"{place}no room left on the disk. Make room, then run the same command again."
        return f"{place}{error.strerror}. Choose another place, or change what protects this one."
    if type(error).__name__ in LOST_PROCESS or "gloo/transport" in str(error):  # gloo's have no own type
        return (
            "another process of this run has ended or cannot be reached, so this one ends too. If it failed, its own "
            "message stands above; if not, it was killed (out of memory?). Checkpoints of earlier epochs are kept."
        )
    if isinstance(error, InstantiationException) and type(error.__cause__).__name__ in REFUSED_ARGUMENTS:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            return None
        key = str(error).rpartition("full_key: ")[2]
        return f"{key}: {error.__cause__} (HYDRA_FULL_ERROR=1 shows where it was refused)"
    if isinstance(error, ModuleNotFoundError) and "pip install" in str(error):  # of a callback, when it is first used
        return str(error)
    if type(error).__name__ == "MisconfigurationException":  # Lightning's, of what its arguments mean together
        return f"trainer: {error}"
    return None


def quiet_lightning() -> None:
    """To be called once it is imported: its tips and device lists come twice each, and it warns of its own code.

    On several processes it also warns of each metric that they might not agree on, and of samples that come twice; ours
    are computed of all processes' samples, each once.
    """
    for library in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(library).setLevel(logging.WARNING)
    logging.getLogger("lightning.pytorch.profilers").setLevel(logging.INFO)  # their report, where one is asked for
    warnings.filterwarnings("ignore", message=".*LeafSpec", category=FutureWarning)
    warnings.filterwarnings("ignore", message=".*sync_dist=True")
    warnings.filterwarnings("ignore", message=".*During `trainer.test\\(\\)`, it is recommended")
    warnings.filterwarnings("ignore", message="You requested to overfit but enabled train dataloader shuffling")
    warnings.filterwarnings("ignore", message="Using `DistributedSampler`")  # a row that comes twice counts once
    warnings.filterwarnings("ignore", message="Experiment logs directory")  # of a run that goes on
    warnings.filterwarnings(
        "ignore", message="You're resuming from a checkpoint that ended before"
    )  # our sampler skips
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
    warnings.filterwarnings("ignore", message=".*in eval mode at the start")  # frozen towers are, on purpose
