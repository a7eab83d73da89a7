"""Memory and time as a corpus grows: `python -m bench.scaling [CASE…] [--scale 1.0] [--json]`.

Each case runs its stages through the engine, as a recipe would, over a generated corpus and over one several times larger,
with two workers, and over the smaller one with one worker too. Time is the clock's; the CPU seconds of all processes say the
same on a machine that others use. Memory is the largest PSS of any one worker (and of the process that leads them), sampled,
with `--json` also by step; `anonymous` is the part that is no mapped file; `rss` is the kernel's own peak, unsampled. The
figures of docs/performance.md take 0.5 and 4 GB for the group-bys, 0.1 and 0.5 GB for the rest: at most 40 minutes and 25 GB
of disk. A smaller `--scale` measures buffers that the smaller corpus does not fill.
"""

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench import scaling_corpus as corpus
from store.artifact import Artifact
from store.canonical import fingerprint
from store.manifest import Manifest
from store.space import require_free
from store.store import Store
from tasks.catalogue import find_stage
from tasks.engine import Engine
from tasks.executor import LocalExecutor
from tasks.progress import Progress
from tasks.recipe import Recipe
from tasks.stage import Stage

GROUP_BY, STREAMING = (500, 4000), (100, 500)  # MB of the smaller and the larger corpus
WARM_UP = 8  # MB: workers have imported and compiled before the clock starts
VOCABULARY = 8192
Inputs = dict[str, Artifact]


@dataclass(frozen=True)
class Case:
    """What `until` needs is measured, but for what `prepare(store, recipe, folder, bytes)` has made."""

    until: str
    megabytes: tuple[int, int]
    prepare: Callable[[Store, Recipe, Path, int], Inputs]
    source: str = "c4"
    sections: dict[str, Any] = field(default_factory=dict)


def main() -> None:
    """The command line."""
    options = _options()
    if options.measure:
        print(json.dumps(measure(**json.loads(options.measure))))
        return
    for name in options.names or CASES:
        case = CASES[name]
        sizes = [max(1, round(megabytes * options.scale)) for megabytes in case.megabytes]
        with TemporaryDirectory(prefix="quipu-scaling-", dir=options.folder) as folder:
            require_free(folder, 6 * sizes[1] * 10**6)
            _show(_row(name, sizes, Path(folder)), options.json)


def measure(name: str, megabytes: int, workers: int, folder: str) -> dict[str, Any]:
    """One run in this process: seconds of the measured stages, and peaks in MiB; without workers only the corpora are made."""
    case = CASES[name]
    if not workers:
        for size in (WARM_UP, megabytes):
            place = Path(folder) / str(size)
            case.prepare(Store(place / "store"), _recipe(case, place, size), place / "raw", size * 10**6)
        os.sync()  # the disk is not to be busy with the corpus while its stages are timed
        return {}
    executor = LocalExecutor(workers)
    try:
        for size in (WARM_UP, megabytes):
            place = Path(folder) / str(size)
            store, recipe = Store(place / "store"), _recipe(case, place, size)
            made = case.prepare(store, recipe, place / "raw", size * 10**6)
            step = Step()
            engine = Engine(store, recipe, executor, step)
            with Peaks(executor, step) as peaks:
                began, cpu = time.perf_counter(), _cpu_seconds(executor)
                stages = _needed(recipe, case.until, made)
                for stage in stages:
                    made[stage.name] = engine.run(stage, made)
                seconds, cpu = time.perf_counter() - began, _cpu_seconds(executor) - cpu
            for stage in stages:
                shutil.rmtree(place / "store" / stage.name)
    finally:
        executor.close()
    return {"seconds": seconds, "cpu_seconds": cpu, "digest": made[case.until].digest, **peaks.figures()}


class Step(Progress):
    """Says nothing, and knows which function the workers run."""

    def __init__(self) -> None:
        super().__init__(io.StringIO())
        self.name = ""

    def stage_progress(self, name: str, done: float, of: float, text: str) -> None:
        self.name = text


class Peaks:
    """Context that samples the memory of this process and of each worker, and keeps the largest of each."""

    def __init__(self, executor: LocalExecutor, step: Step, interval: float = 0.1) -> None:
        self._executor, self._step, self._interval = executor, step, interval
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._lead = 0.0
        self._workers: dict[str, tuple[float, float]] = {}  # by step
        self._rss = 0.0

    def figures(self) -> dict[str, Any]:
        """Peak PSS in MiB of a worker, of its anonymous part and of the lead, the first two by step too; peak RSS of a worker."""
        steps = {step: [round(whole), round(anonymous)] for step, (whole, anonymous) in self._workers.items()}
        worker, anonymous = (round(max(peak[at] for peak in self._workers.values()), 1) for at in (0, 1))
        return {
            "worker": worker,
            "worker_anonymous": anonymous,
            "worker_rss": round(self._rss, 1),
            "lead": round(self._lead, 1),
            "steps": steps,
        }

    def __enter__(self) -> "Peaks":
        for pid in self._executor.pids():
            Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak begins anew
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._rss = max((_peak_rss(pid) for pid in self._executor.pids()), default=0.0)

    def _watch(self) -> None:
        pause = 0.0
        while not self._ended.wait(pause):
            began = time.perf_counter()
            self._lead = max(self._lead, _pss(os.getpid())[0])
            for pid in self._executor.pids():
                (whole, anonymous), (largest, most) = _pss(pid), self._workers.get(self._step.name, (0.0, 0.0))
                self._workers[self._step.name] = (max(whole, largest), max(anonymous, most))
            pause = max(self._interval, 20 * (time.perf_counter() - began))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.scaling", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}; all if none is named")
    parser.add_argument("--scale", type=float, default=1.0, help="times the usual size of the corpora")
    parser.add_argument("--folder", help="where the corpora lie meanwhile; the system's temporary folder")
    parser.add_argument("--json", action="store_true", help="one JSON object a row")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if unknown := sorted(set(options.names) - set(CASES)):
        parser.error(f"no case {', '.join(unknown)}; there are {', '.join(CASES)}")
    return options


def _row(name: str, sizes: list[int], folder: Path) -> dict[str, Any]:
    """Both sizes with two workers, the smaller one with one worker too, each in a process of its own."""
    _measured(name, sizes[0], 0, folder)
    alone = _measured(name, sizes[0], 1, folder)
    small = _measured(name, sizes[0], 2, folder)
    shutil.rmtree(folder / str(sizes[0]))
    _measured(name, sizes[1], 0, folder)
    large = _measured(name, sizes[1], 2, folder)
    if alone["digest"] != small["digest"]:
        raise SystemExit(f"{name}: one worker and two made different bytes")
    return {
        "case": name,
        "bytes": [size * 10**6 for size in sizes],
        "seconds_one_worker": round(alone["seconds"], 2),
        "seconds": [round(run["seconds"], 2) for run in (small, large)],
        "cpu_seconds": [round(run["cpu_seconds"], 2) for run in (small, large)],
        "mb_per_s": [round(size / run["seconds"], 2) for size, run in zip(sizes, (small, large), strict=True)],
        "worker_mib": [run["worker"] for run in (small, large)],
        "worker_anonymous_mib": [run["worker_anonymous"] for run in (small, large)],
        "worker_rss_mib": [run["worker_rss"] for run in (small, large)],
        "steps_mib": [run["steps"] for run in (small, large)],
        "lead_mib": [run["lead"] for run in (small, large)],
        "memory_ratio": round(large["worker"] / small["worker"], 3),
        "rss_ratio": round(large["worker_rss"] / small["worker_rss"], 3),
        "anonymous_ratio": round(large["worker_anonymous"] / small["worker_anonymous"], 3),
        "linearity": round(large["seconds"] / small["seconds"] * sizes[0] / sizes[1], 3),
        "cpu_linearity": round(large["cpu_seconds"] / small["cpu_seconds"] * sizes[0] / sizes[1], 3),
        "speed_up": round(alone["seconds"] / small["seconds"], 2),
    }


def _measured(name: str, megabytes: int, workers: int, folder: Path) -> dict[str, Any]:
    wanted = {"name": name, "megabytes": megabytes, "workers": workers, "folder": str(folder)}
    command = [sys.executable, "-m", "bench.scaling", "--measure", json.dumps(wanted)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).resolve().parent.parent)
    if done.returncode:
        raise SystemExit(f"{name}: {megabytes} MB with {workers} workers failed:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _show(row: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(row), flush=True)
        return
    for place, size in enumerate(row["bytes"]):
        print(
            f"{row['case']:<20} {size / 10**6:>7,.0f} MB {row['seconds'][place]:>8.1f} s {row['mb_per_s'][place]:>8.1f} MB/s   "
            f"worker {row['worker_mib'][place]:,.0f} MiB ({row['worker_anonymous_mib'][place]:,.0f} anonymous), "
            f"lead {row['lead_mib'][place]:,.0f} MiB"
        )
    memory = f"memory x {row['memory_ratio']} (anonymous x {row['anonymous_ratio']}, RSS x {row['rss_ratio']})"
    said = f"{memory}, time over size x {row['linearity']} (CPU x {row['cpu_linearity']}), two workers x {row['speed_up']}"
    print(f"{'':<20} {said}", flush=True)


def _recipe(case: Case, folder: Path, megabytes: int) -> Recipe:
    sources: dict[str, Any] = {case.source: {"inputs": [str(folder / "raw")], "shard_bytes": 1}}
    if case.source == "commoncrawl":
        sources["wikipedia"] = sources["commoncrawl"]
    tokens = megabytes * 10**6 // 8  # about half of what there is
    values = {
        "name": "scaling",
        "sources": sources,
        "tokenizer": {"vocab_size": VOCABULARY},
        "mixture": {"shares": {case.source: 1.0}, "total_tokens": tokens, "rows_per_file": 2048, "validation_rows": 8},
        "model": {"dim": 64, "n_layers": 1, "n_heads": 2, "vocab_size": VOCABULARY, "context_length": 512, "norm_eps": 1e-5},
        "pretrain": {"lr": 1e-3},
    }
    return Recipe.model_validate(values | case.sections)


def _needed(recipe: Recipe, name: str, made: Inputs) -> list[Stage]:
    """The stage of that name after all that it takes in and that is not made."""
    stage = find_stage(recipe, name)
    before = [each for needed in stage.inputs if needed not in made for each in _needed(recipe, needed, made)]
    return [*dict.fromkeys(before), stage]


def _commit(store: Store, stage: str, write: Callable[[Path], object]) -> Artifact:
    """What `write` leaves in a folder, as an artifact; found again by the other run over the same corpus."""
    identity = fingerprint({"stage": stage, "bench": "scaling"})
    if found := store.find(stage, identity):
        return found
    with store.lock(stage, identity):
        attempt = store.attempt(stage, identity)
        write(attempt.directory)
        names = [
            path.relative_to(attempt.directory).as_posix() for path in sorted(attempt.directory.rglob("*")) if path.is_file()
        ]
        return attempt.commit(Manifest(stage, 1, identity, files=[attempt.entry(name) for name in names], finished=time.time()))


def _pages(stage: str, source: str) -> Callable[[Store, Recipe, Path, int], Inputs]:
    """Documents as the stage before leaves them."""

    def prepare(store: Store, recipe: Recipe, folder: Path, size: int) -> Inputs:
        return {stage: _commit(store, stage, lambda place: corpus.write_documents(place, source, size))}

    return prepare


def _raw(source: str, write: Callable[[Path, int], None]) -> Callable[[Store, Recipe, Path, int], Inputs]:
    """Raw files, and the list of them."""

    def prepare(store: Store, recipe: Recipe, folder: Path, size: int) -> Inputs:
        if not folder.exists():
            write(folder, size)
        stage = find_stage(recipe, f"acquire-{source}")
        return {stage.name: Engine(store, recipe, LocalExecutor(1), Progress(io.StringIO())).run(stage, {})}

    return prepare


def _to_be_mixed(store: Store, recipe: Recipe, folder: Path, size: int) -> Inputs:
    from data.tokenizer import train_tokenizer

    def split(place: Path) -> None:
        corpus.write_documents(place / "train" / "c4", "c4", size)
        (held_out,) = corpus.write_documents(place / "held-out", "c4", 100_000, seed=2)
        (place / "validation").mkdir()
        held_out.rename(place / "validation" / "c4.parquet")

    def tokenizer(place: Path) -> None:
        documents = {"c4": corpus.write_documents(place / "scratch", "c4", 5 * 10**6, seed=3)}
        train_tokenizer(documents, place / "tokenizer.model", recipe.tokenizer, 0, {"c4": 1.0})
        shutil.rmtree(place / "scratch", ignore_errors=True)

    return {"split": _commit(store, "split", split), "tokenizer": _commit(store, "tokenizer", tokenizer)}


def _to_be_judged(store: Store, recipe: Recipe, folder: Path, size: int) -> Inputs:
    """Pages without repeated lines, and language models of some articles."""
    made = {
        "commoncrawl-lines": _commit(
            store, "commoncrawl-lines", lambda place: corpus.write_documents(place, "commoncrawl", size)
        ),
        "wikipedia-read": _commit(
            store, "wikipedia-read", lambda place: corpus.write_documents(place, "wikipedia", 2 * 10**6, seed=4)
        ),
    }
    executor = LocalExecutor(1)
    engine = Engine(store, recipe, executor, Progress(io.StringIO()))
    made["commoncrawl-lm"] = engine.run(find_stage(recipe, "commoncrawl-lm"), made)
    executor.close()
    return made


def _cpu_seconds(executor: LocalExecutor) -> float:
    """Of this process and of the workers and what they have waited for, since each began."""
    ticks = 0
    for pid in [os.getpid(), *executor.pids()]:
        ticks += sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _pss(pid: int) -> tuple[float, float]:
    """PSS of a process and its anonymous part, MiB."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0, 0.0
    found = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss")}
    return found.get("Pss", 0.0), found.get("Pss_Anon", 0.0)


def _peak_rss(pid: int) -> float:
    """Peak RSS of a process, MiB: whole pages of what it shares with others, too."""
    found = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(found[0].split()[1]) / 1024


CASES = {
    "line-dedup": Case("commoncrawl-lines", GROUP_BY, _pages("commoncrawl-read", "commoncrawl"), "commoncrawl"),
    "near-dedup": Case("near-dedup", GROUP_BY, _pages("c4-dedup", "c4"), sections={"near_dedup": {"enabled": True}}),
    "stackexchange-join": Case("stackexchange-read", GROUP_BY, _raw("stackexchange", corpus.write_posts), "stackexchange"),
    "mix": Case("mix", GROUP_BY, _to_be_mixed),
    "commoncrawl-read": Case("commoncrawl-read", STREAMING, _raw("commoncrawl", corpus.write_wet), "commoncrawl"),
    "c4-read": Case("c4-read", STREAMING, _raw("c4", corpus.write_wet), "c4"),
    "wikipedia-read": Case("wikipedia-read", STREAMING, _raw("wikipedia", corpus.write_wikipedia), "wikipedia"),
    "language-perplexity": Case("commoncrawl-perplexity", STREAMING, _to_be_judged, "commoncrawl"),
}

if __name__ == "__main__":
    main()
