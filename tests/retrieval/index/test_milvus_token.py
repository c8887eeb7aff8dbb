"""Whom the token of the environment is sent to."""

import base64
import dataclasses
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from fashionclip.app.cli import main
from fashionclip.errors import InputError
from fashionclip.retrieval.index.index_folder import read_facts, write_facts
from fashionclip.retrieval.search.search import Searcher

SECRET = "root:secret-of-the-user"


class Listener(grpc.GenericRpcHandler):
    """Knows no call, and keeps what callers bring."""

    def __init__(self):
        self.calls = 0
        self.heard = []

    def service(self, call):
        self.calls += 1
        self.heard += [str(value) for _, value in call.invocation_metadata]


@pytest.fixture
def listener():
    """One at `listener.address`."""
    listener = Listener()
    server = grpc.server(ThreadPoolExecutor(2), handlers=[listener])
    listener.address = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield listener
    server.stop(None).wait()


@pytest.fixture
def index(index, listener, monkeypatch):
    """An index of somebody whose `index.json` says that it is kept at the listener."""
    write_facts(index, dataclasses.replace(read_facts(index), milvus=listener.address, collection="theirs"))
    monkeypatch.setenv("MILVUS_TOKEN", SECRET)
    monkeypatch.delenv("MILVUS_ADDRESS", raising=False)
    return index


def told(listener):
    secrets = {SECRET, base64.b64encode(SECRET.encode()).decode()}
    return any(secret in heard for heard in listener.heard for secret in secrets)


def test_no_token_goes_to_an_address_of_index_json(index, listener, export, shop):
    for arguments in (
        ["search", str(index), "dress"],
        ["serve", str(index), "--port", "0", "--photos", str(shop)],
        ["index", str(export), str(shop), "--to", str(index)],
    ):
        before = listener.calls
        with pytest.raises(SystemExit, match=r"MILVUS_TOKEN is sent only to an address that you give yourself"):
            main(arguments)
        assert listener.calls > before, "it was asked"
        assert not told(listener), arguments


@pytest.mark.parametrize("variable", [False, True])
def test_a_token_goes_to_the_address_that_the_user_gives(index, listener, variable, monkeypatch):
    if variable:
        monkeypatch.setenv("MILVUS_ADDRESS", listener.address)
    with pytest.raises(InputError, match="is the token right"):
        Searcher.open(index, milvus=None if variable else listener.address)
    assert told(listener)


def test_another_address_than_the_indexs_is_refused(index, listener):
    with pytest.raises(SystemExit, match=rf"--milvus http://elsewhere:1: .* is kept in {listener.address}"):
        main(["search", str(index), "dress", "--milvus", "http://elsewhere:1"])
    assert not listener.calls


def test_an_address_with_a_password_is_not_written_down(shop, export, tmp_path):
    with pytest.raises(SystemExit, match="what it asks for stands in MILVUS_TOKEN"):
        main(["index", str(export), str(shop), "--to", str(tmp_path / "new"), "--milvus", "http://me:secret@host:1"])
    assert "secret" not in "".join(file.read_text() for file in (tmp_path / "new").glob("*.json"))
