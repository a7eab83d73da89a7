"""The data path beside its peers: `python -m bench.data [NAME…] [--json] [--peer-dir FOLDER]`.

Ours and a peer read the same generated input on the same cores, in processes that take turns (A B A B …), so that a machine
which drifts slows both; the ratio is the median of those of neighbouring pairs. A row appears only after both are shown to
have done the same work. The peers come from `make peers`; a peer that is no package is looked for in `--peer-dir`.
"""

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.corpora.case import Case, Outcome

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / ".peers" / "bin" / "python"
SUBJECTS = sorted(path.stem for path in (ROOT / "bench" / "corpora").glob("*.py") if path.stem not in ("__init__", "case"))
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "POLARS_MAX_THREADS")
PEER_DIRECTORY = "QUIPU_PEER_DIR"


def main() -> None:
    """The command line."""
    cases = {case.what: case for subject in SUBJECTS for case in importlib.import_module(f"bench.corpora.{subject}").CASES}
    options = _options(cases)
    if options.worker:
        print(json.dumps(_work(options.worker, options.input, options.output)))
        return
    if options.peer_dir:
        os.environ[PEER_DIRECTORY] = str(Path(options.peer_dir).resolve())
    for name in options.names or cases:
        with TemporaryDirectory(prefix="quipu-bench-") as folder:
            source = Path(folder) / "input"
            source.mkdir()
            cases[name].prepare(source, options.scale)
            for row in _rows(cases[name], source, Path(folder), options.rounds):
                _show(row, options.json)


def _options(cases: dict[str, Case]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.data", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(cases)}; all if none is named")
    parser.add_argument("--rounds", type=int, default=3, help="pairs of runs")
    parser.add_argument("--scale", type=float, default=1.0, help="times the usual size of the input")
    parser.add_argument("--peer-dir", help="folder of checkouts of peers that are no packages (cc_net, RedPajama-Data)")
    parser.add_argument("--json", action="store_true", help="one JSON object a row")
    for name in ("worker", "input", "output"):
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if unknown := sorted(set(options.names) - set(cases)):
        parser.error(f"no case {', '.join(unknown)}; there are {', '.join(cases)}")
    return options


def _rows(case: Case, source: Path, folder: Path, rounds: int) -> list[dict[str, Any]]:
    """One row a peer; a peer that is not here gives a row that says so."""
    rows = []
    for peer, work in case.peers.items():
        if reason := _missing(case, peer):
            rows.append({"what": case.what, "peer": peer, "unit": case.unit, "missing": reason})
            continue
        pairs = [(_run(sys.executable, case.ours, source, folder), _run(PEERS, work, source, folder)) for _ in range(rounds)]
        rows.append(_row(case, peer, pairs))
    return rows


def _missing(case: Case, peer: str) -> str | None:
    if not PEERS.exists():
        return "the peers' environment; `make peers` builds it"
    wanted = case.checkout.get(peer)
    if wanted and not (Path(os.environ.get(PEER_DIRECTORY, ".")) / wanted).is_dir():
        return f"a checkout of {wanted}; name the folder that holds it with --peer-dir"
    return None


def _row(case: Case, peer: str, pairs: list[tuple[Outcome, Outcome]]) -> dict[str, Any]:
    remark = case.agree(pairs[-1][0]["facts"], pairs[-1][1]["facts"])
    mine, theirs = ([pair[side]["units"] / pair[side]["seconds"] for pair in pairs] for side in (0, 1))
    last = pairs[-1][0]
    row = {
        "what": case.what,
        "ours": round(statistics.median(mine), 2),
        "peer": peer,
        "peer_rate": round(statistics.median(theirs), 2),
        "unit": case.unit,
        "ratio": round(statistics.median(one / other for one, other in zip(mine, theirs, strict=True)), 2),
        "rows": last["rows"],
        "bytes": last["bytes"],
        "cores": case.cores,
    }
    return row | ({"goal": case.at_least[peer]} if peer in case.at_least else {}) | ({"remark": remark} if remark else {})


def _run(interpreter: Path | str, work: str, source: Path, folder: Path) -> Outcome:
    with TemporaryDirectory(dir=folder) as output:
        command = [str(interpreter), "-m", "bench.data", "--worker", work, "--input", str(source), "--output", output]
        environment = os.environ | dict.fromkeys(ONE_THREAD, "1") | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise SystemExit(f"{work} failed:\n{done.stderr[-3000:]}")
    found: Outcome = json.loads(done.stdout.splitlines()[-1])
    return found


def _work(name: str, source: str, output: str) -> Outcome:
    module, function = name.split(":")
    outcome: Outcome = getattr(importlib.import_module(module), function)(Path(source), Path(output))
    return outcome


def _show(row: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(row), flush=True)
    elif "missing" in row:
        print(f"{row['what']:<18} {row['peer']}: not here: {row['missing']}", flush=True)
    else:
        said = f"{row['what']:<18} {row['ours']:>12,.2f} {row['unit']:<12} {row['peer']} {row['peer_rate']:,.2f}"
        goal = f" (goal {row['goal']:g})" if "goal" in row else ""
        size = f"{row['rows']:,} rows, {row['bytes'] / 2**20:,.1f} MiB"
        print(f"{said}   {row['ratio']:.2f} x{goal}   {size}  {row.get('remark', '')}", flush=True)


if __name__ == "__main__":
    main()
