import subprocess
import sys

import pytest

CODE = """
import resource, torch
from fashionclip.app.malloc import keep_freed_memory

def page_faults():
    for step in range(12):  # each keeps several activations for a while, as a training step does
        if step == 8:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        activations = [  # 40 MiB each: above 32 MiB glibc maps every block anew
            torch.ones(10 * 2**20) for _ in range(8)
        ]
        del activations
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(page_faults())
keep_freed_memory()
print(page_faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc has this setting")
def test_memory_is_used_again_instead_of_mapped_anew():
    done = subprocess.run([sys.executable, "-c", CODE], text=True, capture_output=True)
    anew, kept = map(int, done.stdout.split())
    assert kept < anew / 4
