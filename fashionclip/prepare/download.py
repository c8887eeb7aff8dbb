"""Downloading the photos that a table names by address, each once, into a folder that later runs find them in."""

from __future__ import annotations

import hashlib
import io
import logging
import time
from collections.abc import Mapping, Sequence
from functools import partial
from multiprocessing.pool import ThreadPool
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from PIL import Image
from tqdm import tqdm

from fashionclip.atomic import locked, whole_file
from fashionclip.images import FORMATS, SUFFIXES

AT_ONCE = 8  # downloads; a shop's server takes more for an attack
MAX_REDIRECTS = 5
BACK_OFF = 0.5  # seconds before the second try, doubled before each further one
PASSING = (408, 429)  # of the answers below 500, those that may be others at another try


def download_photos(
    urls: Sequence[str], *, cache: Path, max_bytes: int, retries: int, timeout: float
) -> Mapping[str, Path | str]:
    """Downloads photos into a folder, unless they are there; one that cannot be had keeps no other one out.

    A killed run leaves what it has downloaded, and Ctrl-C ends it at once. Timeouts, broken connections and answers of
    the kind "not now" (408, 429, 5xx) are tried again, after the seconds that the server asks for, but no longer than
    `timeout`, or after a pause that doubles. A proxy is taken from the environment (`HTTPS_PROXY`).

    Args:
        urls: Addresses (http or https), in any order and any number of times.
        cache: Folder of the downloaded files, made where it is missing. A file is named by the hash of its address.
        max_bytes: Largest size of a file; a download ends where it exceeds that.
        retries: Number of further tries after the first.
        timeout: Seconds that one try may take, from the connection to the last byte.

    Returns:
        The file of each address, or the reason, in a few words, why there is none.

    Raises:
        OSError: The folder cannot be written.
    """
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells of every request
    cache.mkdir(parents=True, exist_ok=True)
    files = {url: cache / _file_name(url) for url in urls}
    missing = [url for url, file in files.items() if not file.is_file()]
    if not missing:
        return files
    failed: dict[str, str] = {}
    with (
        locked(cache / ".fashionclip-lock", name=cache),
        httpx.Client(timeout=timeout, headers={"User-Agent": "fashionclip"}) as client,
        ThreadPool(AT_ONCE) as pool,  # its threads end with the process, in whatever they wait
    ):
        fetch = partial(_fetch, cache=cache, client=client, max_bytes=max_bytes, retries=retries, timeout=timeout)
        for url, reason in tqdm(
            pool.imap_unordered(fetch, missing), total=len(missing), desc="downloads", unit="photo"
        ):
            if reason:
                failed[url] = reason
    return {url: failed.get(url, file) for url, file in files.items()}


class _FailedError(Exception):
    """A try without a photo; `wait` is the pause, in seconds, that the server asks for, or None: no further try."""

    def __init__(self, reason: str, *, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


def _file_name(url: str) -> str:
    try:
        suffix = Path(urlsplit(url).path).suffix.lower()
    except ValueError:  # no address; `_fetch` says so
        suffix = ""
    return hashlib.sha256(url.encode(errors="backslashreplace")).hexdigest() + (suffix if suffix in SUFFIXES else "")


def _fetch(
    url: str, *, cache: Path, client: httpx.Client, max_bytes: int, retries: int, timeout: float
) -> tuple[str, str]:
    """Downloads one photo, by several tries; returns its address and the reason why there is none, or ""."""
    for attempt in range(retries + 1):
        try:
            data = _read(url, client=client, max_bytes=max_bytes, timeout=timeout)
            with whole_file(cache / _file_name(url), sync=False) as file:
                file.write(data)
            return url, ""
        except _FailedError as error:
            reason, wait = str(error), error.wait
        except httpx.TimeoutException:
            reason, wait = f"no answer within {timeout:g} s", 0.0
        except httpx.TransportError as error:
            reason, wait = f"{type(error).__name__}: {error}", 0.0
        except (httpx.RequestError, httpx.InvalidURL, ValueError) as error:  # ValueError: a host that no name can be
            reason, wait = f"{type(error).__name__}: {error}", None
        if wait is None:
            break
        if attempt < retries:
            time.sleep(min(timeout, max(wait, BACK_OFF * 2**attempt)))
    return url, reason


def _read(url: str, *, client: httpx.Client, max_bytes: int, timeout: float) -> bytes:
    """The bytes of a photo, by one try."""
    until = time.monotonic() + timeout
    request = client.build_request("GET", url)
    for _ in range(MAX_REDIRECTS + 1):  # by hand: httpx reads all that a redirect says besides, be it without end
        if request.url.scheme not in ("http", "https"):
            raise _FailedError("no http(s) address, or one that leads to another kind")
        response = client.send(request, stream=True)
        try:
            if response.next_request is not None:
                request = response.next_request
                continue
            status = response.status_code
            if status != 200:
                asked = response.headers.get("retry-after", "")
                passing = status in PASSING or status >= 500
                raise _FailedError(f"HTTP {status}", wait=float(asked if asked.isdecimal() else 0) if passing else None)
            data = bytearray()
            for part in response.iter_bytes():
                data += part
                if len(data) > max_bytes:
                    raise _FailedError(f"larger than {max_bytes:,} bytes")
                if time.monotonic() > until:
                    raise _FailedError(f"no whole answer within {timeout:g} s", wait=0.0)
        finally:
            response.close()
        try:
            Image.open(io.BytesIO(data), formats=FORMATS)
        except Exception:  # whatever a decoder raises; a shop that has lost a photo often answers with a page
            raise _FailedError(f"no photo ({response.headers.get('content-type', 'of no type')})") from None
        return bytes(data)
    raise _FailedError(f"more than {MAX_REDIRECTS} redirects")
