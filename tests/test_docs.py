"""What README, the pages in docs/ and the headers of YAML files show: their commands are right, and their blocks run.

A block whose title names a file is written to it, one whose title begins with "needs" is not run, and one of `text` is
what a command prints.
"""

import json
import os
import re
import shlex
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser

from fashionclip.app import cli
from fashionclip.app.config import check_added_keys

REPO = Path(__file__).parents[1]
PAGES = sorted(REPO.glob("docs/**/*.md"))
NOTEBOOKS = sorted(REPO.glob("docs/**/*.ipynb"))
BLOCK = re.compile(r'^( *)```(\w*)(?: title="([^"]*)")?\n(.*?)^\1```$', re.M | re.S)
COMMAND = re.compile(r"(?:python |torchrun \S+ )(train|prepare|evaluate)\.py|(?<![-\w])fashionclip ([a-z]+)(?![\w=])")
# Settings that make a training short, whatever a page sets; serving goes on in the background, on a free port.
PRELUDE = """\
set -eo pipefail
python() { %(python)s "$@"; }
fashionclip() {
  case " $* " in
    *" --help "* | *" --cfg "* | *" -sc "*) python -m fashionclip "$@" ;;
    " train "*) python -m fashionclip "$@" data.num_workers=0 trainer.max_epochs=1 trainer.check_val_every_n_epoch=1 ;;
    " serve "*) %(python)s -m fashionclip "$@" --port %(port)s & trap "kill $!" EXIT ;;
    *) python -m fashionclip "$@" ;;
  esac
}
"""


def blocks(page):
    """Language, title and text of each block of a page."""
    return [
        (language, title, textwrap.dedent(text)) for _, language, title, text in BLOCK.findall(page.read_text("utf-8"))
    ]


def one_line(text):
    return re.sub(r"\\\n#? *", " ", text)


def commands():
    """The words of each command line that a page, README or a YAML's header shows, with the file that shows it."""
    for page in [REPO / "README.md", *PAGES]:
        for language, _, text in blocks(page):
            for line in one_line(text).splitlines() if language in ("", "bash") else ():
                found = COMMAND.search(line)
                if found:
                    yield page, found[1] or found[2], shlex.split(line[found.end() :].split(')"')[0], comments=True)
    for file in sorted(REPO.glob("configs/**/*.yaml")):
        header = one_line("".join(re.findall(r"^#.*\n", file.read_text("utf-8"), re.M)))
        for line in header.splitlines():
            for found in COMMAND.finditer(line):
                rest = re.sub(r"\[(\S+=\S+)\]", r"\1", line[found.end() :])
                words = re.match(r"(?:\s+(?:-m|--[a-z]+ \S+|[+~]*[\w.@/]+=(?:'[^']*'|[^\s;,]+)))*", rest)[0]
                yield file, found[1] or found[2], shlex.split(words)


@pytest.fixture
def composed(tmp_path):
    """Composes a config as the command would; YAML files of the pages are among the choices."""
    for page in PAGES:
        for _, title, text in blocks(page):
            if title.startswith("configs/"):
                write(tmp_path / title, text)
    with initialize_config_dir(str(REPO / "configs"), version_base="1.3"):

        def composed(name, words):
            given = get_args_parser().parse_intermixed_args(words).overrides
            first = [
                f"{one.input_line.partition('=')[0]}={next(one.sweep_string_iterator())}"
                if one.is_sweep_override()
                else one.input_line
                for one in OverridesParser.create().parse_overrides(given)
            ]
            cfg = compose(name, [*first, f"hydra.searchpath=[file://{tmp_path}/configs]"])
            check_added_keys(cfg, first)

        yield composed
    GlobalHydra.instance().clear()


def wrong_among(shown, take):
    """What is said of each command that is not taken, with the file that shows it."""
    wrong = []
    for file, command, words in shown:
        try:
            take(command, words)
        except (Exception, SystemExit) as error:
            wrong.append(f"{file.relative_to(REPO)}: {command} {shlex.join(words)}\n  {str(error)[:300]}")
    return "\n".join(wrong)


def test_commands_are_taken_as_they_are_shown(monkeypatch):
    shown = [one for one in commands() if one[1] not in cli.HYDRA_COMMANDS]
    for command in {*cli.COMMANDS} - {*cli.HYDRA_COMMANDS.values()}:
        monkeypatch.setattr(command, "run", lambda options: None)
    assert len(shown) > 20 and not wrong_among(shown, lambda command, words: cli.main([command, *words]))


@pytest.mark.slow
def test_overrides_compose_as_they_are_shown(composed):
    shown = {
        (command, *words): (file, command, words)
        for file, command, words in commands()
        if command in cli.HYDRA_COMMANDS and not {"--again", "-sc"} & {*words}
    }
    assert len(shown) > 60 and not wrong_among(shown.values(), composed)


def write(file, text):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def run(script, folder, *, port=0):
    environment = {**os.environ, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1", "COLUMNS": "100"}
    script = PRELUDE % {"python": shlex.quote(sys.executable), "port": port} + script
    write(folder / "blocks.sh", script)
    done = subprocess.run(["bash", "blocks.sh"], cwd=folder, env=environment, text=True, capture_output=True)
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-3000:]}"


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if any(one[0] == "bash" for one in blocks(page))], ids=str)
def test_blocks_run_one_after_the_other(page, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = ""
    for language, title, text in blocks(page):
        if title.startswith("needs"):
            print(f"not run: {title}")
        elif title:
            script += f"mkdir -p $(dirname {title})\ncat > {title} <<'END'\n{text}END\n"
        elif language == "bash":
            script += text.replace("127.0.0.1:8000", f"127.0.0.1:{port}")
        elif language == "python":
            script += f"python - <<'END'\n{text}END\n"
    run(script, tmp_path, port=port)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=str)
def test_blocks_that_cannot_run_everywhere(page):
    reasons = [title for _, title, _ in blocks(page) if title.startswith("needs")]
    if reasons:
        pytest.skip(f"{page.name}: blocks that are only checked for their arguments: {'; '.join(reasons)}")


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=str)
def test_notebooks_run_from_top_to_bottom(notebook, tmp_path):
    """Without Jupyter: cells are Python, or commands where they begin with %%bash."""
    script = ""
    for cell in json.loads(notebook.read_text("utf-8"))["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [], "clear the outputs before committing"
            shell = text.startswith("%%bash\n")
            script += f"subprocess.run(['bash', '-ec', {text[7:]!r}], check=True)\n" if shell else f"{text}\n"
    assert script
    write(tmp_path / "cells.py", f"import subprocess\n{script}")
    run("export -f python fashionclip\npython cells.py\n", tmp_path)
