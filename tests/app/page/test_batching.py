"""Many at a time: requests on one event loop, while the searcher is held up."""

import asyncio
import threading
from contextlib import asynccontextmanager

import httpx
import pytest

from fashionclip.app.page.app import create_app
from fashionclip.app.page.request_limits import RequestLimits


@asynccontextmanager
async def serving(searcher, **limits):
    app = create_app(searcher, limits=RequestLimits(**limits))
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://t") as client:
        yield client


def words(answer):
    return answer.json()["hits"][0]["text"]


async def ask(client, text, **more):
    return await client.get("/api/search", params={"q": text, "k": 1, **more})


async def waiting(client):
    return (await client.get("/api/health")).json()["waiting"]


def test_those_who_wait_are_searched_together(searcher):
    async def run():
        async with serving(searcher) as client:
            asking = [asyncio.create_task(ask(client, f"dress {2 * number + 1}")) for number in range(12)]
            return [words(answer).split()[-1] for answer in await asyncio.gather(*asking)]

    assert asyncio.run(run()) == [str(2 * number + 1) for number in range(12)]
    assert sum(map(len, searcher.calls)) == 12 and len(searcher.calls) < 6


def test_each_gets_as_many_as_it_asked_for(searcher):
    async def run():
        async with serving(searcher) as client:
            asking = [ask(client, "dress", k=k) for k in (1, 7, 31, 100)]
            return [len(answer.json()["hits"]) for answer in await asyncio.gather(*asking)]

    assert asyncio.run(run()) == [1, 7, 31, 31]


def test_a_query_that_fails_fails_alone(searcher):
    async def run():
        async with serving(searcher) as client:
            asking = [
                ask(client, "blue"),
                ask(client, "boom"),
                ask(client, "green", where="nope = 1"),
                ask(client, "red shirt"),
            ]
            return await asyncio.gather(*asking)

    answers = asyncio.run(run())
    assert [answer.status_code for answer in answers] == [200, 500, 422, 200]
    assert [words(answers[0]), words(answers[3])] == ["Blue dress 1", "Red shirt 0"]
    assert not any("green" in call for call in searcher.calls)  # refused before the model saw it


def test_what_the_store_refuses_is_said_and_what_it_lacks_is_not(searcher):
    async def run():
        async with serving(searcher) as client:
            asking = [ask(client, word) for word in ("blue", "like %boom%", "red shirt")]
            return [*await asyncio.gather(*asking), await ask(client, "like %boom%"), await ask(client, "index away")]

    blue, refused, red, alone, gone = asyncio.run(run())
    assert [blue.status_code, red.status_code] == [200, 200]
    for answer in (refused, alone):
        assert (answer.status_code, answer.json()["detail"]) == (422, "filter: Milvus v2.3.5 knows no such pattern.")
    assert gone.status_code == 503 and "retry-after" in gone.headers and str(searcher.folder) not in gone.text


def test_too_many_are_told_to_come_again(searcher):
    async def run():
        async with serving(searcher, waiting=5) as client:
            searcher.free.clear()
            held = [asyncio.create_task(ask(client, "blue")) for _ in range(5)]
            while await waiting(client) < 5:
                await asyncio.sleep(0.005)
            refused = await asyncio.gather(*(ask(client, "red") for _ in range(4)))
            photo = await client.post("/api/search", files={"photo": ("a.png", b"not decoded")})
            page = await client.post("/results", data={"q": "red"})
            searcher.free.set()
            served = await asyncio.gather(*held)
            return refused, photo, page, served, await ask(client, "red"), await waiting(client)

    refused, photo, page, served, after, left = asyncio.run(run())
    assert [answer.status_code for answer in (*refused, photo, page)] == [429] * 6
    assert refused[0].headers["retry-after"] == "1"
    assert refused[0].json() == {"detail": "Too many searches are waiting. Try again in a moment."}
    assert [answer.status_code for answer in (*served, after)] == [200] * 6 and left == 0


def test_what_takes_too_long_is_ended_and_dropped(searcher):
    async def run():
        async with serving(searcher, seconds=0.3) as client:
            searcher.free.clear()
            first = asyncio.create_task(ask(client, "first"))
            await asyncio.sleep(0.1)  # it is being searched
            second = asyncio.create_task(ask(client, "second"))  # it waits for the first
            late = await asyncio.gather(first, second)
            searcher.free.set()
            return late, await ask(client, "blue"), await waiting(client)

    late, after, left = asyncio.run(run())
    assert [answer.status_code for answer in late] == [503, 503] and late[0].headers["retry-after"] == "5"
    assert after.status_code == 200 and left == 0
    assert ["second"] not in searcher.calls and not any("second" in call for call in searcher.calls)


def test_an_upload_that_never_ends_is_ended(searcher):
    async def body():
        yield b"--b\r\n"
        await asyncio.sleep(30)

    async def run():
        async with serving(searcher, seconds=0.2) as client:
            form = {"content-type": "multipart/form-data; boundary=b"}
            return await client.post("/api/search", content=body(), headers=form)

    answer = asyncio.run(run())
    assert answer.status_code == 408 and answer.json() == {"detail": "The upload took too long. Try a smaller photo."}


def test_a_client_that_has_gone_is_not_searched_for(searcher):
    async def run():
        app = create_app(searcher)
        sent = []

        def asking(gone):
            messages = [{"type": "http.request", "body": b""}]
            scope = {
                "type": "http",
                "method": "GET",
                "path": "/api/search",
                "query_string": b"q=gone",
                "headers": [],
                "scheme": "http",
                "server": ("t", 80),
                "root_path": "",
                "http_version": "1.1",
            }

            async def receive():
                if messages:
                    return messages.pop()
                await gone.wait()
                return {"type": "http.disconnect"}

            async def send(message):
                sent.append(message)

            return app(scope, receive, send)

        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url="http://t") as client:
                searcher.free.clear()
                held = asyncio.create_task(ask(client, "held"))
                while not searcher.searching.is_set():
                    await asyncio.sleep(0.005)
                gone = asyncio.Event()
                leaving = asyncio.create_task(asking(gone))
                while await waiting(client) < 2:
                    await asyncio.sleep(0.005)
                gone.set()
                await leaving
                left = await waiting(client)
                searcher.free.set()
                await held
                await ask(client, "after")
                return sent[0]["status"], left

    assert asyncio.run(run()) == (499, 1)
    assert searcher.calls == [["held"], ["after"]]


@pytest.mark.parametrize("wrong", ["check", "search_many"])
def test_the_queue_survives_anything(searcher, wrong, monkeypatch):
    def broken(*_):
        raise OSError(threading.current_thread().name)

    async def run():
        async with serving(searcher) as client:
            with monkeypatch.context() as patch:
                patch.setattr(searcher, wrong, broken)
                bad = await asyncio.gather(*(ask(client, "red") for _ in range(3)))
            return bad, await ask(client, "red")

    bad, good = asyncio.run(run())
    assert [answer.status_code for answer in (*bad, good)] == [500, 500, 500, 200]
