"""A folder of another kind than the command wants: the message says how to come from one to the other."""

import shutil

import pytest

from fashionclip.app.cli import main
from fashionclip.errors import InputError
from fashionclip.retrieval.index.index_folder import EXPORT, IndexFacts, photos_to_serve, read_facts


@pytest.fixture
def run(tmp_path):
    """A run folder, as training leaves it."""
    checkpoints = tmp_path / "run" / "checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / "best.ckpt").write_bytes(b"weights")
    return tmp_path / "run"


def test_a_run_or_a_checkpoint_is_no_export(run, shop, tmp_path):
    for place in (run, run / "checkpoints" / "best.ckpt"):
        for command in (
            ["index", str(place), str(shop), "--to", str(tmp_path / "index")],
            ["judge", str(place), str(shop / "00.png"), "a dress"],
        ):
            with pytest.raises(
                SystemExit, match=rf"{place}: no export there .*: fashionclip export {run}\b.* --to DIR"
            ):
                main(command)


def test_an_export_is_no_index_and_an_index_no_export(export, shop, tmp_path):
    copy = tmp_path / "export"
    shutil.copytree(export, copy)
    for command in (["search", str(copy), "dress"], ["serve", str(copy), "--port", "0"]):
        with pytest.raises(SystemExit, match=rf"is an export, not an index yet. Run: fashionclip index {copy} PHOTOS"):
            main(command)
    with pytest.raises(SystemExit, match=r"holds .* and is no index, so it is left alone"):
        main(["index", str(copy), str(shop), "--to", str(copy)])
    index = tmp_path / "index"
    main(["index", str(copy), str(shop), "--to", str(index)])
    with pytest.raises(SystemExit, match=r"index: no export there"):
        main(["index", str(index), str(shop), "--to", str(index)])
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    with pytest.raises(SystemExit, match=r"no export there .* It is a run: fashionclip export"):
        main(["search", str(index), "dress", "--export", str(tmp_path / "run")])


def test_commands_to_paste_quote_a_path_with_blanks(tmp_path):
    folder, photos = tmp_path / "my index", tmp_path / "my photos"
    folder.mkdir()
    photos.mkdir()
    facts = IndexFacts(export="export", digest="", size=16, source=str(photos))
    with pytest.raises(InputError, match=rf"--photos '{photos.resolve()}', or"):
        photos_to_serve(folder, facts, None)
    with pytest.raises(InputError, match=rf"fashionclip index EXPORT PHOTOS --to '{folder}'"):
        read_facts(folder)
    (folder / EXPORT).touch()
    with pytest.raises(InputError, match=rf"fashionclip index '{folder}' PHOTOS --to"):
        read_facts(folder)
