import socket
import sys
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from fashionclip.app.cli import main
from fashionclip.app.commands.serve import is_loopback
from fashionclip.retrieval.index.index_folder import IndexFacts, write_facts


class Nothing:
    """A searcher of an empty index."""

    def __len__(self):
        return 0

    def search(self, query, top_k=10):
        return []


@pytest.fixture
def served(monkeypatch):
    """What would be served, and on which address."""
    import uvicorn

    from fashionclip.retrieval.search.search import Searcher

    found = {}

    def run(server, sockets):
        found["app"] = server.config.app
        found["address"] = sockets[0].getsockname()
        found["prompt"] = sockets[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        sockets[0].close()
        raise KeyboardInterrupt  # as uvicorn ends at Ctrl-C

    monkeypatch.setattr(uvicorn.Server, "run", run)
    monkeypatch.setattr(Searcher, "open", lambda index, **options: found.update(options) or Nothing())
    return found


@pytest.fixture
def index(tmp_path):
    """The folder of one whose photos lie within it."""
    return str(written(tmp_path / "index", source=tmp_path / "index" / "photos"))


def written(folder, *, source):
    folder.mkdir()
    Path(source).mkdir(parents=True, exist_ok=True)
    write_facts(folder, IndexFacts(export="nowhere", digest="", size=3, source=str(source)))
    return folder


def test_it_is_this_machines_unless_told_otherwise(served, index, capsys):
    main(["serve", index, "--port", "0"])
    host, port = served["address"]
    said = capsys.readouterr()
    assert (
        host == "127.0.0.1" and port and served["prompt"] and f"http://127.0.0.1:{port} " in said.out and not said.err
    )
    with TestClient(served["app"]) as client:
        assert client.get("/api/health", headers={"host": f"localhost:{port}"}).json()["photos"] == 0
        assert client.get("/api/health", headers={"host": "evil.example"}).status_code == 421


def test_to_others_it_is_open_with_a_warning(served, index, capsys):
    main(["serve", index, "--port", "0", "--host", "0.0.0.0"])
    assert served["address"][0] == "0.0.0.0"
    assert "warning: 0.0.0.0 can be reached from other machines" in capsys.readouterr().err
    with TestClient(served["app"]) as client:
        assert client.get("/api/health", headers={"host": "shop.example"}).status_code == 200


def test_a_port_that_is_taken(served, index):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit, match=rf"^error: 127.0.0.1:{port} cannot be served on \(.*in use.*\)\. Give"):
            main(["serve", index, "--port", str(port)])
    for address in (["--port", "99999"], ["--host", "203.0.113.7"]):
        with pytest.raises(SystemExit, match="cannot be served on"):
            main(["serve", index, *address])


def test_photos_elsewhere_are_served_only_if_the_user_says_so(served, tmp_path):
    shop = tmp_path / "shop"
    for number, source in enumerate([shop, "/", tmp_path, tmp_path / "index0" / ".." / "shop"]):
        theirs = written(tmp_path / f"index{number}", source=source)
        with pytest.raises(SystemExit, match=r"its photos lie elsewhere, in /.*: confirm it with --photos /"):
            main(["serve", str(theirs), "--port", "0"])
    (tmp_path / "index0" / "link").symlink_to(shop)
    with pytest.raises(SystemExit, match="its photos lie elsewhere"):
        main(["serve", str(written(tmp_path / "linked", source=tmp_path / "index0" / "link")), "--port", "0"])
    with pytest.raises(SystemExit, match=r"nowhere: no folder there\. Name the one where the photos"):
        main(["serve", str(theirs), "--port", "0", "--photos", str(tmp_path / "nowhere")])
    assert "photos" not in served
    main(["serve", str(theirs), "--port", "0", "--photos", str(shop)])
    assert served["photos"] == shop.resolve()


def test_no_index_is_one_message(tmp_path):
    with pytest.raises(SystemExit, match="no index there"):
        main(["serve", str(tmp_path), "--port", "0"])


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "::1", "localhost", "LOCALHOST"])
def test_addresses_of_this_machine(host):
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "localhost.example"])
def test_addresses_that_others_reach(host):
    assert not is_loopback(host)


def test_help_needs_no_server(capsys):
    for module in ("fastapi", "uvicorn"):
        assert module not in vars(sys.modules["fashionclip.app.commands.serve"])
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    assert "--port" in capsys.readouterr().out
