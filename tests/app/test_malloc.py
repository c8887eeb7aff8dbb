import subprocess
import sys

import pytest

CODE = """
import resource, torch
from fashionclip.app.malloc import keep_freed_memory
{call}
for step in range(12):  # each keeps several activations for a while, as a training step does
    if step == 8:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    activations = [  # 40 MiB each: above 32 MiB glibc maps every block anew
        torch.ones(10 * 2**20) for _ in range(8)
    ]
    del activations
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(call):
    return int(subprocess.run([sys.executable, "-c", CODE.format(call=call)], text=True, capture_output=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc has this setting")
def test_memory_is_used_again_instead_of_mapped_anew():
    assert page_faults("keep_freed_memory()") < page_faults("") / 4
