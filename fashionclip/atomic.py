"""Writing all or nothing, one process at a time.

    <name>, a file      written as .<name>.fashionclip-new, and renamed
    <name>, a folder    put together in .<name>.fashionclip/new, and renamed; what it replaces waits in
                        .<name>.fashionclip/old, from where it comes back if the process is killed between the renames
    any of them         one process at a time, held by a lock on a file beside it
    a very long <name>  stands as its hash in these names

Nothing else is ever renamed or removed: these names are nobody else's, and a folder `.<name>.fashionclip` without our
mark in it is left alone. All of it outlives a killed process. A single file outlives a power cut as well, where asked.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from fashionclip.errors import InputError

MARK = "made-by-fashionclip"
ASK_AGAIN = 0.2  # seconds between two looks at a lock that another process holds
LONGEST_NAME = 255  # bytes, of a file in its folder, nearly everywhere
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Lets the error of a write name its file: that of a full disk does not."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


@contextmanager
def whole_file(path: Path, *, sync: bool = True) -> Iterator[BinaryIO]:
    """Opens a file beside `path` that takes its place at the end, and is removed after an error.

    Args:
        path: Final name of the file; its folder exists.
        sync: Whether to wait until the disk has it, so that a power cut leaves the old or the new. For one of very
            many files that is too slow.

    Raises:
        OSError: It cannot be written; `filename` tells where, also where the disk is full.
    """
    temporary = beside(path, ".fashionclip-new")
    try:
        with naming(path), temporary.open("wb") as stream:
            yield stream
            if sync:
                stream.flush()
                os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str, *, sync: bool = True) -> None:
    """Writes a text in UTF-8 by `whole_file`."""
    with whole_file(path, sync=sync) as stream:
        stream.write(text.encode())


@contextmanager
def locked(file: Path, *, name: Path, refuse: str | None = None) -> Iterator[None]:
    """Keeps other processes out while it lasts. A killed process holds no lock.

    Where the file system has no locks (some network file systems), it warns and goes on without one.

    Args:
        file: What to lock; made, and removed in the end. Its folder exists.
        name: What to call the thing that is locked.
        refuse: Message to end with where another process holds it; None: wait, and say so once.

    Raises:
        InputError: `refuse`.
    """
    descriptor = _lock(file, name=name, refuse=refuse)
    try:
        yield
    finally:
        try:
            file.unlink(missing_ok=True)  # while it is held: whoever has opened it meanwhile sees that it is gone
        finally:
            os.close(descriptor)


def _lock(file: Path, *, name: Path, refuse: str | None) -> int:
    said = False
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is(descriptor, file):
                return descriptor
        except BlockingIOError:
            if refuse is not None:
                os.close(descriptor)
                raise InputError(refuse) from None
            if not said:
                print(f"{name}: another process is at it; waiting until it has ended", file=sys.stderr, flush=True)
            said = True
            time.sleep(ASK_AGAIN)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                os.close(descriptor)
                raise
            warnings.warn(f"{name}: no locks on this file system. Let one process at a time be at it.", stacklevel=4)
            return descriptor
        os.close(descriptor)


def _is(descriptor: int, file: Path) -> bool:
    """Whether the open file still has its name: its last holder removes it."""
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except FileNotFoundError:
        return False


@contextmanager
def alone_at(folder: Path) -> Iterator[None]:
    """Lets one process at a time put a folder together; another waits. The functions below expect it."""
    folder = folder.resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    if folder.exists() and not os.access(folder.parent, os.W_OK):  # nobody here can replace it, only read it
        yield
        return
    with locked(beside(folder, ".fashionclip-lock"), name=folder):
        yield


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Gives an empty folder, which takes the place of `folder` at the end, or is removed after an error.

    Raises:
        InputError: The place is taken by something that we did not make.
    """
    new = begin_folder(folder)
    try:
        shutil.rmtree(new)  # of a process killed before its end
        new.mkdir()
        yield new
        finish_folder(folder)
    except BaseException:
        restore_folder(folder)
        discard_folder(folder)
        raise


def begin_folder(folder: Path) -> Path:
    """Where to put a folder together: a new one, or one with what a killed process has left there.

    Raises:
        InputError: The place is taken by something that we did not make.
    """
    restore_folder(folder)
    place = _place(folder)
    if place.exists() and not _is_ours(place):
        raise InputError(
            f"{place}: is in the way and not of our making (no file {MARK} in it), so it is left alone. Move it away."
        )
    new = place / "new"
    place.mkdir(exist_ok=True)
    (place / MARK).touch()
    new.mkdir(exist_ok=True)
    return new


def finish_folder(folder: Path) -> None:
    """Lets the folder from `begin_folder` take the place of the one that stands there, if any."""
    place = _place(folder)
    if folder.exists():
        os.replace(folder.resolve(), place / "old")
    os.replace(place / "new", folder.resolve())
    discard_folder(folder)


def restore_folder(folder: Path) -> None:
    """Puts the old folder back if a process was killed in the instant between the two renames of a swap."""
    old = _place(folder) / "old"
    if not old.exists() or not _is_ours(old.parent):
        return
    if folder.exists():  # killed after the swap
        shutil.rmtree(old, ignore_errors=True)
    else:
        os.replace(old, folder.resolve())


def swap_is_torn(folder: Path) -> bool:
    """Whether `folder` is gone and waits to be put back: by `restore_folder`, or by a process that is at it now."""
    return not folder.exists() and (_place(folder) / "old").exists()


def is_begun(folder: Path) -> bool:
    """Whether a killed or stopped process has left something to go on from."""
    return (_place(folder) / "new").exists()


def discard_folder(folder: Path) -> None:
    """Removes what was begun, and what was replaced."""
    place = _place(folder)
    if _is_ours(place):
        for part in (place / "new", place / "old", place):  # the mark comes last
            shutil.rmtree(part, ignore_errors=True)


def _place(folder: Path) -> Path:
    return beside(folder.resolve(), ".fashionclip")


def beside(path: Path, ending: str) -> Path:
    """Our own name beside a file or folder; of a name that would become too long, a hash stands in it."""
    name = f".{path.name}{ending}"
    if len(os.fsencode(name)) > LONGEST_NAME:
        name = f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()}{ending}"
    return path.with_name(name)


def _is_ours(place: Path) -> bool:
    """Whether it carries our mark, or is what a process leaves that was killed before the mark or after it."""
    return place.is_dir() and ((place / MARK).is_file() or not any(place.iterdir()))
