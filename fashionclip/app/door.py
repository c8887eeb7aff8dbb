"""What `train.py`, `prepare.py` and `evaluate.py` share: a user's mistake ends in one message, not in a traceback."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from fashionclip.errors import InputError


@contextmanager
def one_message() -> Iterator[None]:
    """Ends the program with the message of an `InputError`, also where Hydra has wrapped it, or of Ctrl-C."""
    try:
        yield
    except KeyboardInterrupt:
        raise SystemExit("stopped; the same command goes on from here, or starts anew") from None
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, InputError):
            cause = cause.__cause__
        if cause is None:
            raise
        message = str(cause)
        if "Original Traceback" in message:  # torch's wrapping of what a loading process raised
            message = message.rpartition(f"{type(cause).__name__}: ")[2]
        raise SystemExit(f"error: {message.strip()}") from None


def quiet_lightning() -> None:
    """To be called once it is imported: its tips and device lists come twice each, and it warns of its own code."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*LeafSpec", category=FutureWarning)
