import subprocess
import sys

import pytest

CODE = """
import resource, torch
from fashionclip.app.memory import keep_freed_memory
{call}
for turn in range(8):
    if turn == 4:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = torch.ones(16 * 2**20)
    del block
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(call):
    return int(subprocess.run([sys.executable, "-c", CODE.format(call=call)], text=True, capture_output=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc has this setting")
def test_memory_is_used_again_instead_of_mapped_anew():
    assert page_faults("keep_freed_memory()") < page_faults("") / 10
