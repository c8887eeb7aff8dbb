"""A real Milvus server, in an environment of its own: whatever holds of a store holds of it."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

VERSION = "2.3.5"  # the last whose wheel is a server
INSTALLED, READY, STOPPED = 300, 120, 20  # seconds, at most
PORTS = ["proxy", "proxy-internal", "etcd", "root-coord", "query-coord", "query-node", "index-coord", "index-node"]
PORTS += ["data-coord", "data-node"]


def free_ports(count):
    """Ports of loopback that nobody listens on."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


def installed(folder):
    """The command that starts it, or why there is none here."""
    made = subprocess.run([sys.executable, "-m", "venv", folder], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no environment for milvus=={VERSION}: {made.stdout[-200:]}{made.stderr[-200:]}")
    pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    try:
        got = subprocess.run([*pip, f"milvus=={VERSION}"], capture_output=True, text=True, timeout=INSTALLED)
    except subprocess.TimeoutExpired:
        pytest.skip(f"milvus=={VERSION} could not be installed within {INSTALLED} s")
    if got.returncode:
        pytest.skip(f"milvus=={VERSION} cannot be installed here: {' '.join(got.stderr.split())[-300:]}")
    return folder / "bin" / "milvus-server"


@pytest.fixture
def server(tmp_path):
    """Its address. It listens wherever the machine can be reached, which this version cannot be told not to, and is
    spoken to by loopback alone."""
    from pymilvus import MilvusClient
    from pymilvus.exceptions import MilvusException

    command = installed(tmp_path / "environment")
    ports = free_ports(len(PORTS))
    options = [word for name, port in zip(PORTS, ports, strict=True) for word in (f"--{name}-port", str(port))]
    address = f"http://127.0.0.1:{ports[0]}"
    with open(tmp_path / "said", "w") as said:
        process = subprocess.Popen(
            [command, "--data", tmp_path / "data", *options], stdout=said, stderr=said, start_new_session=True
        )
    try:
        deadline = time.monotonic() + READY
        while True:
            try:
                MilvusClient(address).close()
                break
            except MilvusException as error:
                gone = process.poll() is not None
                assert not gone and time.monotonic() < deadline, f"{error}\n{(tmp_path / 'said').read_text()}"
                time.sleep(0.5)
        yield address
    finally:
        process.send_signal(signal.SIGINT)  # which it passes on; at SIGTERM the server itself would stay
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOPPED)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.slow
def test_the_tests_of_stores_and_search_pass_on_a_server(server):
    tests = [Path(__file__).parents[1] / name for name in ("index/test_stores.py", "search/test_search.py")]
    environment = os.environ | {"FASHIONCLIP_MILVUS": server}
    for name in list(environment):
        if name.startswith("PYTEST_"):  # of this run
            del environment[name]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "", "-k", "server", "-p", "no:cacheprovider", *tests],
        env=environment,
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
    assert int(run.stdout.rpartition(" passed")[0].split()[-1]) > 25, run.stdout[-500:]
