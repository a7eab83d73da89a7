"""The figures of the spine: `python -m bench.spine [--store runs] [--json]`.

Command times are the median of several whole processes; the cost of the contract is that of an empty stage with five
small files: fingerprint, lock, attempt, hashes, manifest. Needs a store in which configs/demo.yaml has been run.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from store.canonical import fingerprint
from store.manifest import Manifest
from store.store import Store

RECIPE = "configs/demo.yaml"
ROUNDS = 5


def main() -> None:
    """Print one row a figure: what, seconds, limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", default="runs", help="store in which the demo has been run")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    options = parser.parse_args()
    for what, seconds, limit in figures(options.store):
        if options.json:
            print(json.dumps({"what": what, "seconds": round(seconds, 4), "limit": limit}), flush=True)
        else:
            print(f"{what:<44} {seconds:8.3f} s   at most {limit:g} s{'' if seconds <= limit else '   MISSED'}", flush=True)


def figures(store: str) -> list[tuple[str, float, float]]:
    """Every figure as (what, seconds, limit)."""
    commands = [
        ("quipu --help", ["--help"], 0.7),
        ("quipu plan", ["plan", RECIPE, "--store", store], 3.0),
        ("quipu status", ["status", "--store", store], 2.0),
        ("quipu run, nothing changed", ["run", RECIPE, "--store", store], 10.0),
        ("quipu run --no-prefect, nothing changed", ["run", RECIPE, "--store", store, "--no-prefect"], 4.0),
    ]
    rows = [(what, command_seconds(arguments), limit) for what, arguments, limit in commands]
    return [*rows, ("contract of an empty stage", contract_seconds(), 0.05)]


def command_seconds(arguments: list[str]) -> float:
    """Median wall time of the whole command."""
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "flows", *arguments], check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def contract_seconds(stages: int = 40, files: int = 5) -> float:
    """Median time of everything the contract adds to an empty stage."""
    times = []
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        for number in range(stages):
            began = time.perf_counter()
            name = fingerprint({"stage": "empty", "config": {"number": number}, "inputs": {"before": "0" * 64}})
            with store.lock("empty", name):
                attempt = store.attempt("empty", name)
                paths = [attempt.directory / f"part-{i}.txt" for i in range(files)]
                for path in paths:
                    Path(path).write_text("content\n")
                attempt.commit(Manifest("empty", 1, name, files=[attempt.entry(path.name) for path in paths]))
            times.append(time.perf_counter() - began)
    return statistics.median(times)


if __name__ == "__main__":
    main()
