import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from fashionclip.parallel import on_all_cores

SCRIPT = """
import os, sys, time
from functools import partial
from pathlib import Path
from fashionclip.parallel import on_all_cores

def work(job, folder):
    Path(folder, str(os.getpid())).touch()
    time.sleep(600 if job else 0)

if __name__ == "__main__":
    list(on_all_cores(partial(work, folder=sys.argv[1]), [0, 1, 2, 3], workers=2, fewest=1, chunksize=1))
"""


@pytest.mark.parametrize("workers", [0, 2])
def test_results_come_in_the_order_of_the_jobs(workers):
    assert list(on_all_cores(abs, [-3, 2, -1], workers=workers, fewest=1, chunksize=1)) == [3, 2, 1]


def test_processes_end_with_a_parent_that_was_killed(tmp_path):
    script, folder = tmp_path / "script.py", tmp_path / "workers"
    script.write_text(SCRIPT)
    folder.mkdir()
    parent = subprocess.Popen([sys.executable, script, folder], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        while len(list(folder.iterdir())) < 2 and parent.poll() is None:
            time.sleep(0.02)
        parent.kill()
        parent.communicate(timeout=20)  # their output ends only when the last of them has
    finally:
        for file in folder.iterdir():
            with suppress(ProcessLookupError):
                os.kill(int(file.name), signal.SIGKILL)
    assert len(list(folder.iterdir())) == 2
