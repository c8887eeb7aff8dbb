"""How many searches a second `fashionclip serve` holds, and how long each takes, end to end over HTTP.

    python benchmarks/serve_load.py --index INDEX

Serves the index on a free port of this machine, in a process of its own, and lets wrk ask /api/search for everyday
texts, in turn, with several numbers of connections. Prints, for each, results a second, percentiles of the time to an
answer (wrk's, over all answers), and what was no result: "refused" were answered 429 because the queue was full (wrk
asks again at once, which real clients should not), "errors" are all other answers that are not 2xx, and connections
that failed or timed out. Run it with nothing beside it; wrk itself takes a part of the processors. Results so far are
in RESULTS.md.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import quote_plus
from urllib.request import urlopen

QUERIES = """
red summer dress; women's red kurta; black leather wallet; white sneakers; men's blue denim jacket; navy polo shirt;
striped t-shirt; grey hoodie; floral print top; high heel sandals; brown leather belt; sports watch; sunglasses; pink
handbag; silver earrings; running shoes for women; formal black shoes; checked shirt for men; kids' cartoon t-shirt;
green track pants; yellow saree; cotton socks; laptop backpack; deodorant for men; lipstick; flip flops; winter
jacket; beige trousers; silk scarf; purple nail polish; wedding lehenga; blue jeans; round neck tee; golden bracelet
"""
SCRIPT = """
local paths = { %s }
local at = 0
local threads = {}
function setup(thread) table.insert(threads, thread) end
function init() refused = 0 failed = 0 at = math.random(#paths) end
function request()
  at = at %% #paths + 1
  return wrk.format("GET", paths[at])
end
function response(status)
  if status == 429 then refused = refused + 1
  elseif status < 200 or status > 299 then failed = failed + 1 end
end
function done(summary, latency)
  local refused, failed = 0, 0
  for _, thread in ipairs(threads) do
    refused = refused + thread:get("refused")
    failed = failed + thread:get("failed")
  end
  local lost = summary.errors
  io.write(string.format(
    'SUMMARY {"seconds": %%f, "requests": %%d, "refused": %%d, "failed": %%d, "lost": %%d, ' ..
    '"p50": %%f, "p95": %%f, "p99": %%f}\\n',
    summary.duration / 1e6, summary.requests, refused, failed,
    lost.connect + lost.read + lost.write + lost.timeout,
    latency:percentile(50) / 1e3, latency:percentile(95) / 1e3, latency:percentile(99) / 1e3))
end
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", type=Path, required=True, help="folder that `fashionclip index` wrote")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 4, 16, 64, 128, 256])
    parser.add_argument("--seconds", type=int, default=20, help="for each number of connections")
    parser.add_argument("--hits", type=int, default=10, help="photos in an answer")
    options = parser.parse_args()
    wrk = shutil.which("wrk")
    if wrk is None:
        sys.exit(
            "error: wrk is not installed; it asks the questions. Install it (apt-get install wrk), then run again."
        )
    texts = [text.strip() for text in QUERIES.replace("\n", " ").split(";")]
    paths = [f"/api/search?k={options.hits}&q={quote_plus(text)}" for text in texts]
    with tempfile.TemporaryDirectory() as folder, serving(options.index) as address:
        script = Path(folder) / "queries.lua"
        script.write_text(SCRIPT % ", ".join(map(json.dumps, paths)))
        measure(wrk, script, address, connections=4, seconds=2)  # the first searches are slower
        with urlopen(f"{address}/api/health") as answer:
            print(f"{json.load(answer)['photos']:,} photos, {len(texts)} texts in turn, {options.hits} hits each")
        print("connections results/s   p50 ms   p95 ms   p99 ms  refused  errors")
        for connections in options.connections:
            got = measure(wrk, script, address, connections=connections, seconds=options.seconds)
            results = (got["requests"] - got["refused"] - got["failed"]) / got["seconds"]
            print(
                f"{connections:>11} {results:>9.1f} {got['p50']:>8.1f} {got['p95']:>8.1f} {got['p99']:>8.1f} "
                f"{got['refused']:>8} {got['failed'] + got['lost']:>7}",
                flush=True,
            )


class serving:
    """`fashionclip serve` as a process, until the block ends; gives its address."""

    def __init__(self, index: Path) -> None:
        photos = json.loads((index / "index.json").read_text())["source"]
        self.command = [sys.executable, "-m", "fashionclip", "serve", str(index), "--port", "0", "--photos", photos]

    def __enter__(self) -> str:
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("serving"):
                return line.partition(" on ")[2].split()[0]
        raise SystemExit(self.process.wait() or 1)  # it has said why

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()


def measure(wrk: str, script: Path, address: str, *, connections: int, seconds: int) -> dict[str, float]:
    """One run of wrk."""
    command = [wrk, "--threads=1", f"--connections={connections}", f"--duration={seconds}s", "--timeout=30s"]
    done = subprocess.run([*command, f"--script={script}", address], capture_output=True, text=True)
    for line in done.stdout.splitlines():
        if line.startswith("SUMMARY "):
            time.sleep(0.5)  # searches that wrk has left are dropped
            return json.loads(line.removeprefix("SUMMARY "))
    sys.exit(f"error: wrk said no results:\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    main()
