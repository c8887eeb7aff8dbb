import errno
import fcntl
import os
import shutil
import subprocess
import sys
import time
from itertools import count
from pathlib import Path

import pytest

from fashionclip.atomic import (
    MARK,
    alone_at,
    begin_folder,
    discard_folder,
    finish_folder,
    is_begun,
    locked,
    restore_folder,
    swap_is_torn,
    whole_file,
    write_text,
)
from fashionclip.errors import InputError


def contents(folder):
    return {file.relative_to(folder).as_posix(): file.read_text() for file in folder.rglob("*") if file.is_file()}


def test_a_file_is_whole_or_not_there(tmp_path):
    for text in ("one", "two"):
        write_text(tmp_path / "a.txt", text)
        with pytest.raises(KeyboardInterrupt), whole_file(tmp_path / "a.txt") as stream:
            stream.write(b"half")
            raise KeyboardInterrupt
        assert contents(tmp_path) == {"a.txt": text}


def test_a_file_that_finds_no_room_is_named(tmp_path):
    with pytest.raises(OSError) as failure, whole_file(tmp_path / "a.txt"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert failure.value.filename == str(tmp_path / "a.txt") and not contents(tmp_path)
    with pytest.raises(OSError) as failure, whole_file(tmp_path / "none" / "a.txt"):
        pass
    assert failure.value.filename.startswith(str(tmp_path / "none"))


def test_the_longest_name_of_a_file_is_written_too(tmp_path):
    for name in ("a" * 238, "a" * 239, "a" * 255, "é" * 127):  # bytes are what counts
        write_text(tmp_path / name, "whole")
        assert contents(tmp_path) == {name: "whole"}
        (tmp_path / name).unlink()


def test_the_longest_name_of_a_folder_is_written_too(tmp_path):
    for text in ("old", "new"):
        write_folder(tmp_path / ("a" * 255), text)
        assert contents(tmp_path) == {f"{'a' * 255}/{part}": text for part in ("one", "two")}


def test_what_stands_in_a_place_that_cannot_be_written_is_not_locked(tmp_path, monkeypatch):
    (tmp_path / "shop").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)  # tests may run as root, who may do all
    with alone_at(tmp_path / "shop"):
        assert os.listdir(tmp_path) == ["shop"]
    with alone_at(tmp_path / "other"):  # where nothing stands, the attempt says what is wrong
        assert len(os.listdir(tmp_path)) == 2


def write_folder(folder, text):
    with alone_at(folder):
        restore_folder(folder)
        new = begin_folder(folder)
        (new / "one").write_text(text)
        (new / "two").write_text(text)
        finish_folder(folder)


class Killed(BaseException):
    pass


@pytest.mark.parametrize("replacing", [False, True])
def test_a_folder_is_whole_and_old_or_new_whenever_the_process_is_killed(tmp_path, monkeypatch, replacing):
    """`finally` runs here and does not in a killed process: it removes the lock alone."""
    for number in count():
        folder = tmp_path / str(number) / "shop"
        folder.parent.mkdir()
        if replacing:
            write_folder(folder, "old")
        steps = count()

        def killing(original, number=number, steps=steps):
            def step(*args, **kwargs):
                if next(steps) == number:
                    raise Killed
                return original(*args, **kwargs)

            return step

        try:
            with monkeypatch.context() as patch:
                for owner, name in ((os, "replace"), (shutil, "rmtree"), (Path, "mkdir"), (Path, "touch")):
                    patch.setattr(owner, name, killing(getattr(owner, name)))
                write_folder(folder, "new")
            break
        except Killed:
            pass
        assert replacing or folder.exists() or not swap_is_torn(folder)
        restore_folder(folder)
        if replacing or folder.exists():
            assert set(contents(folder).values()) in ({"old"}, {"new"})
            assert len(contents(folder)) == 2
        write_folder(folder, "next")
        assert contents(folder.parent) == {"shop/one": "next", "shop/two": "next"}
    assert number > (7 if replacing else 6)


def test_folders_of_others_beside_it_are_never_touched(tmp_path):
    theirs = {f"shop{end}/thesis.txt": "precious" for end in (".old", ".partial", ".new", "-new", ".tmp")}
    for path in theirs:
        (tmp_path / path).parent.mkdir()
        (tmp_path / path).write_text("precious")
    write_folder(tmp_path / "shop", "mine")
    write_folder(tmp_path / "shop", "mine")
    assert contents(tmp_path) == theirs | {"shop/one": "mine", "shop/two": "mine"}


def test_even_our_own_name_is_left_alone_without_our_mark(tmp_path):
    for part in ("new", "old"):
        (tmp_path / ".shop.fashionclip" / part).mkdir(parents=True)
        (tmp_path / ".shop.fashionclip" / part / "thesis.txt").write_text("precious")
    with pytest.raises(InputError, match=r"\.shop\.fashionclip: is in the way and not of our making.*Move it away"):
        write_folder(tmp_path / "shop", "mine")
    discard_folder(tmp_path / "shop")
    assert set(contents(tmp_path).values()) == {"precious"} and not (tmp_path / "shop").exists()


def test_what_was_begun_is_kept_until_it_is_finished_or_discarded(tmp_path):
    (begin_folder(tmp_path / "shop") / "photo").write_text("kept")
    assert is_begun(tmp_path / "shop")
    assert contents(begin_folder(tmp_path / "shop")) == {"photo": "kept"}
    discard_folder(tmp_path / "shop")
    assert not any(tmp_path.iterdir()) and not is_begun(tmp_path / "shop")


def test_a_link_to_a_folder_stays_a_link(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "shop").symlink_to("elsewhere")
    write_folder(tmp_path / "shop", "mine")
    assert (tmp_path / "shop").is_symlink() and len(contents(tmp_path / "elsewhere")) == 2


HOLDER = """
import sys, time
from pathlib import Path
from fashionclip.atomic import locked
with locked(Path(sys.argv[1]), name=Path("thing")):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def holder(file, seconds):
    process = subprocess.Popen([sys.executable, "-c", HOLDER, file, str(seconds)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_waits_and_says_so(tmp_path, capsys):
    process, start = holder(tmp_path / "lock", 0.6), time.perf_counter()
    with locked(tmp_path / "lock", name=Path("thing")):
        assert time.perf_counter() - start > 0.3 and process.wait() == 0
    assert capsys.readouterr().err == "thing: another process is at it; waiting until it has ended\n"
    assert not any(tmp_path.iterdir())


def test_a_second_process_is_refused_where_it_must_not_wait_and_a_killed_one_holds_nothing(tmp_path):
    process = holder(tmp_path / "lock", 60)
    with pytest.raises(InputError, match=r"^busy$"), locked(tmp_path / "lock", name=Path("thing"), refuse="busy"):
        pass
    assert (tmp_path / "lock").exists(), "it is another's"
    process.kill()
    process.wait()
    with locked(tmp_path / "lock", name=Path("thing"), refuse="busy"):
        pass


def test_many_processes_take_turns(tmp_path):
    """Each adds one to a number, by reading and writing it: two at once would lose one."""
    (tmp_path / "number").write_text("0")
    script = """
import sys
from pathlib import Path
from fashionclip.atomic import locked
number = Path(sys.argv[1])
for _ in range(40):
    with locked(number.with_name("lock"), name=number):
        number.write_text(str(int(number.read_text()) + 1))
"""
    processes = [subprocess.Popen([sys.executable, "-c", script, tmp_path / "number"]) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert (tmp_path / "number").read_text() == "120"


def test_without_locks_it_warns_and_goes_on(tmp_path, monkeypatch):
    def unsupported(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with pytest.warns(UserWarning, match="no locks on this file system"), locked(tmp_path / "lock", name=Path("a")):
        pass


def test_our_mark_is_a_file_of_this_name():
    assert MARK == "made-by-fashionclip", "folders that killed runs have left carry it"
