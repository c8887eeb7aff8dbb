"""What a run of Weights & Biases has written to its offline file, for tests."""

import json
import struct
import time

from wandb.proto.wandb_internal_pb2 import Record

BLOCK = 32768  # bytes of the file, which is a log as LevelDB writes it, behind a header of 7 bytes
HEADER = 7


def records(file):
    data, place, parts = file.read_bytes(), HEADER, b""
    assert data[:4] == b":W&B"
    while place < len(data):
        left = BLOCK - place % BLOCK
        if left < HEADER:
            place += left  # filled with zeros
            continue
        _, size, kind = struct.unpack("<IHB", data[place : place + HEADER])
        if place + HEADER + size > len(data):
            return  # of what is being written
        parts += data[place + HEADER : place + HEADER + size]
        place += HEADER + size
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(parts)
            parts = b""


def read_offline(folder):
    """Name, group, config, summary, logged keys and artifacts of the one run below a folder."""
    (file,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    for _ in range(300):  # W&B's own process writes it, and has the end of the run for the last
        found = list(records(file))
        if any(record.HasField("exit") for record in found):
            break
        time.sleep(0.1)
    run = {"config": {}, "summary": {}, "logged": {}, "artifacts": {}}
    for record in found:
        if record.HasField("run"):
            run |= {"id": record.run.run_id, "name": record.run.display_name, "group": record.run.run_group}
        for of_config in (record.run.config, record.config):
            run["config"] |= {item.key: json.loads(item.value_json) for item in of_config.update}
        for place, items in (("summary", record.summary.update), ("logged", record.history.item)):
            run[place] |= {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}
        if record.HasField("artifact"):
            run["artifacts"][record.artifact.name] = [entry.path for entry in record.artifact.manifest.contents]
    return run
