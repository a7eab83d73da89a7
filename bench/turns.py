"""Ours and a peer in one run: processes that take turns, so that a machine which drifts slows both.

A worker is this process again with `--worker NAME`; it prints a line of JSON with its `rate`. Ratios are those of
neighbouring pairs, and the median counts.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

THREADS = 2
PEER_DIRECTORY = "QUIPU_PEER_DIR"
Work = Callable[[str], dict[str, Any]]  # shape's name to at least {"rate": per second}, or {"missing": what a peer lacks}


def main(module: str, description: str, shapes: Mapping[str, Any], ours: str, workers: Mapping[str, Work], unit: str) -> None:
    """The command line of a benchmark; see the module's text."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    parser.add_argument("shapes", nargs="*", metavar="SHAPE", help=f"of {', '.join(shapes)}; all if none is named")
    parser.add_argument("--rounds", type=int, default=3, help="pairs of runs")
    parser.add_argument("--json", action="store_true", help="one JSON object a row")
    parser.add_argument("--peer-dir", help="folder of peers that are installed apart")
    parser.add_argument("--worker", choices=workers, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if unknown := set(options.shapes) - set(shapes):
        parser.error(f"no shape {', '.join(sorted(unknown))}; there are {', '.join(shapes)}")
    if options.peer_dir:
        os.environ[PEER_DIRECTORY] = os.path.abspath(options.peer_dir)
    if options.worker:
        print(json.dumps(workers[options.worker](options.shapes[0])))
        return
    for shape in options.shapes or shapes:
        for peer in workers:
            if peer != ours:
                _show(_pair(module, shape, ours, peer, options.rounds) | {"unit": unit}, options.json)


def _pair(module: str, shape: str, ours: str, peer: str, rounds: int) -> dict[str, Any]:
    """One row: medians of both and of the ratios of pairs."""
    pairs = []
    for _ in range(rounds):
        found = run_worker(module, peer, shape)
        if "missing" in found:
            return {"what": shape, "peer": peer, "missing": found["missing"]}
        pairs.append((run_worker(module, ours, shape), found))
    mine, theirs = ([pair[side] for pair in pairs] for side in (0, 1))
    return {
        "what": shape,
        "ours": round(statistics.median(run["rate"] for run in mine), 1),
        "peer": peer,
        "peer_rate": round(statistics.median(run["rate"] for run in theirs), 1),
        "ratio": round(statistics.median(one["rate"] / other["rate"] for one, other in pairs), 3),
        "cores": THREADS,
        **{name: value for name, value in mine[-1].items() if name != "rate"},
    }


def run_worker(module: str, worker: str, shape: str) -> dict[str, Any]:
    """What a worker found, in a process of its own."""
    threads = {name: str(THREADS) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")} | {"OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(
        [sys.executable, "-m", module, shape, "--worker", worker],
        env=os.environ | threads | {"DS_ACCELERATOR": "cpu", "TOKENIZERS_PARALLELISM": "false"},
        capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{worker} on {shape} failed:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _show(row: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(row), flush=True)
        return
    if "missing" in row:
        print(f"{row['what']:<14} {row['peer']}: not here: {row['missing']}", flush=True)
        return
    extra = ", ".join(f"{name} {value}" for name, value in row.items() if name not in _SHOWN)
    said = f"{row['what']:<14} {row['ours']:>10,.1f} {row['unit']}   {row['peer']} {row['peer_rate']:,.1f}   {row['ratio']:.2f} x"
    print(f"{said}   {extra}", flush=True)


_SHOWN = {"what", "ours", "peer", "peer_rate", "ratio", "unit"}
