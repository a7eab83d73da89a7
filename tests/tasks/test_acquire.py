"""Raw inputs at addresses, through plan and run: what a plan says, what a run fetches, and that only content counts."""

import gzip
import hashlib
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import pytest
import yaml
from typer.testing import CliRunner

from flows.cli import app
from flows.session import Request, Session, open_session
from store import runs
from store.artifact import Artifact
from tasks.progress import Progress
from tasks.recipe import RecipeError
from tasks.stage import StageFailed, Transient
from tests.s3_server import new_bucket
from tests.s3_server import serving as serving_s3
from tests.web_server import Day, Web, serving

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("c4-0.json.gz", "c4-1.json.gz")
QUICK = {"backoff_seconds": 0.01, "timeout_seconds": 5, "requests_per_second": 1000, "retries": 2}


@pytest.fixture
def web() -> Iterator[Web]:
    """A server with two files as C4 is released, and their checksums."""
    with serving() as site:
        for number, name in enumerate(NAMES):
            site.files[f"/c4/{name}"] = released(number)
        sums = "".join(f"{hashlib.sha256(site.files[f'/c4/{name}']).hexdigest()}  {name}\n" for name in NAMES)
        site.files["/c4/SHA256SUMS"] = sums.encode()
        yield site


def released(number: int) -> bytes:
    text = "The river rose three metres in a single night.\nNobody in the village had seen the like of it!\n" * 2
    rows = [{"text": f"{text}It was year {number}{row} by our count.", "url": f"http://h/{row}"} for row in range(20)]
    return gzip.compress("\n".join(json.dumps(row | {"timestamp": "2019-04-01T00:00:00Z"}) for row in rows).encode(), mtime=0)


@dataclass
class Recipe:
    """A recipe of one corpus, its store, and the two steps of a run."""

    folder: Path

    def write(self, *inputs: str, **sections: Any) -> Path:
        model = {"dim": 32, "n_layers": 1, "n_heads": 2, "vocab_size": 512, "context_length": 64}
        values = {
            "name": "acquired",
            "sources": {"c4": {"inputs": list(inputs)}},
            "tokenizer": {"vocab_size": 512},
            "mixture": {"shares": {"c4": 1.0}, "total_tokens": 8192},
            "model": model,
            "pretrain": {"batch_rows": 2},
            "resources": {"workers": 1, "download": QUICK},
        }
        path = self.folder / "recipe.yaml"
        path.write_text(yaml.safe_dump(values | sections))
        return path

    def open(self, **request: Any) -> Session:
        path, store = str(self.folder / "recipe.yaml"), str(self.folder / "runs")
        return open_session(Request(path, store=store, **({"until": "c4-read"} | request)))

    def actions(self) -> dict[str, tuple[str, str]]:
        return {entry.stage.name: (entry.action, entry.reason) for entry in self.open().plan[:2]}

    def run(self, **request: Any) -> dict[str, Artifact]:
        session = self.open(**request)
        session.require_runnable()
        self.said = io.StringIO()
        session.start(Progress(self.said))
        try:
            for planned in session.plan:
                session.run_stage(planned, retries=False)
            session.ended("done")
        finally:
            session.close()
        return session.artifacts


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return Recipe(tmp_path)


def test_a_plan_says_what_has_to_come_and_fetches_nothing(web: Web, recipe: Recipe) -> None:
    recipe.write(web.url("/c4/c4-0.json.gz"), web.url("/c4/c4-1.json.gz"))
    size = sum(len(web.files[f"/c4/{name}"]) for name in NAMES)
    assert recipe.actions() == {
        "acquire-c4": ("run", f"2 files, {size} B to fetch"),
        "c4-read": ("wait", "needs acquire-c4"),
    }
    assert {asked.method for asked in web.asked} == {"HEAD"}
    web.asked.clear()
    recipe.actions()
    assert web.asked == []


def test_what_was_fetched_is_the_same_as_what_lay_there(web: Web, recipe: Recipe, tmp_path: Path) -> None:
    """Neither the address nor the way counts: local files of the same names and bytes have the same artifacts."""
    recipe.write(f"sums+{web.url('/c4/SHA256SUMS')}")
    made = recipe.run()
    assert made["c4-read"].manifest.funnel["rows_in"] == 40
    assert made["acquire-c4"].manifest.metrics["addresses"] == [f"sums+{web.url('/c4/SHA256SUMS')}"]
    (tmp_path / "here").mkdir()
    for name in NAMES:
        (tmp_path / "here" / name).write_bytes(web.files[f"/c4/{name}"])
    recipe.write(str(tmp_path / "here"))
    shutil.rmtree(tmp_path / "runs" / ".cache")
    assert recipe.actions() == {"acquire-c4": ("reuse", "unchanged"), "c4-read": ("reuse", "unchanged")}


def test_a_second_run_asks_nobody_and_bytes_may_go_when_they_were_read(web: Web, recipe: Recipe, tmp_path: Path) -> None:
    recipe.write(f"sums+{web.url('/c4/SHA256SUMS')}")
    recipe.run()
    assert len(web.gets()) == 3
    web.asked.clear()
    recipe.run()
    for file in (tmp_path / "runs" / ".cache" / "raw").glob("*/*.gz"):
        file.unlink()
    recipe.run()
    assert web.asked == []
    recipe.run(until=None, only="c4-read", forced=("c4-read",))
    assert sorted(asked.path for asked in web.gets()) == [f"/c4/{name}" for name in NAMES]


def test_a_file_that_has_changed_since_it_was_acquired_is_not_read_in_its_place(web: Web, recipe: Recipe, tmp_path: Path) -> None:
    recipe.write(web.url("/c4/c4-0.json.gz"))
    first = recipe.run()
    next((tmp_path / "runs" / ".cache" / "raw").glob("*/*.gz")).unlink()
    web.files["/c4/c4-0.json.gz"] = released(7)
    with pytest.raises(StageFailed, match="other bytes than when it was acquired; run again"):
        recipe.run(until=None, only="c4-read", forced=("c4-read",))
    second = recipe.run()
    assert second["acquire-c4"].digest != first["acquire-c4"].digest
    assert second["c4-read"].digest != first["c4-read"].digest


def test_a_bad_day_costs_retries_and_is_told(web: Web, recipe: Recipe) -> None:
    recipe.write(f"sums+{web.url('/c4/SHA256SUMS')}")
    web.days["/c4/c4-0.json.gz"] = [Day(503), Day(stop_after=100)]
    recipe.run()
    assert "acquire-c4: " in recipe.said.getvalue() and "trying again (1 of 2) from byte 0" in recipe.said.getvalue()


def test_a_lost_server_is_no_mistake_of_the_recipe_and_may_pass(web: Web, recipe: Recipe) -> None:
    recipe.write(f"sums+{web.url('/c4/SHA256SUMS')}")
    web.always["/c4/SHA256SUMS"] = Day(503)
    action, reason = recipe.actions()["acquire-c4"]
    assert action == "run" and reason.startswith("to fetch, but not to be asked now: ") and "503" in reason
    with pytest.raises(Transient, match="503"):
        recipe.run()
    assert runs.list(recipe.open().store)[0].stages["acquire-c4"]["state"] == "failed"
    del web.always["/c4/SHA256SUMS"]
    recipe.run()


MISTAKES = {
    "/c4/none.json.gz": "404",
    "/c4/": "a web server cannot be asked which files it has",
    "/c4/wet.paths.gz": r"write paths\+http",
}


@pytest.mark.parametrize(("path", "message"), MISTAKES.items())
def test_an_address_that_cannot_be_used_is_a_mistake_in_the_recipe(web: Web, recipe: Recipe, path: str, message: str) -> None:
    recipe.write(web.url(path))
    with pytest.raises(RecipeError, match=rf"^sources\.c4\.inputs: .*{message}"):
        recipe.actions()


def test_two_different_files_of_one_name_are_refused(web: Web, recipe: Recipe) -> None:
    web.files["/other/c4-0.json.gz"] = released(9)
    recipe.write(web.url("/c4/c4-0.json.gz"), web.url("/other/c4-0.json.gz"))
    with pytest.raises(RecipeError, match=r"two different files are called 'c4-0\.json\.gz'"):
        recipe.run()


def test_a_run_without_the_stage_that_fetches_says_what_is_missing(web: Web, recipe: Recipe) -> None:
    recipe.write(web.url("/c4/c4-0.json.gz"))
    with pytest.raises(RecipeError, match="c4-read: needs acquire-c4, not made and not chosen"):
        recipe.run(until=None, only="c4-read")


def test_a_disk_that_would_be_too_full_is_told_before_anything_comes(web: Web, recipe: Recipe) -> None:
    recipe.write(f"sums+{web.url('/c4/SHA256SUMS')}", resources={"workers": 1, "min_free_gib": 1e9, "download": QUICK})
    with pytest.raises(Exception, match=r"are needed and .* are free"):
        recipe.run()
    assert [asked.path for asked in web.gets() if asked.path.endswith(".gz")] == []


def test_secrets_of_a_recipe_reach_neither_records_nor_manifests(web: Web, recipe: Recipe, tmp_path: Path) -> None:
    web.login = "Basic bWU6cGE1NQ=="  # me:pa55
    recipe.write(web.url("/c4/c4-0.json.gz?sig=s3cr3t").replace("http://", "http://me:pa55@"))
    recipe.run()
    kept = [file for file in (tmp_path / "runs").rglob("*") if file.is_file()]
    assert any(b"127.0.0.1" in file.read_bytes() for file in kept)
    assert [file for file in kept for secret in (b"pa55", b"s3cr3t") if secret in file.read_bytes()] == []


def test_a_benchmark_may_lie_elsewhere_too(web: Web, recipe: Recipe) -> None:
    rows = [
        {"ctx": f"A man {i} sits.", "endings": ["He stands.", "He sings.", "He eats.", "He runs."], "label": 0} for i in range(3)
    ]
    web.files["/hellaswag_val.jsonl"] = "\n".join(json.dumps(row) for row in rows).encode()
    recipe.write(web.url("/c4/c4-0.json.gz"), evaluation={"benchmarks": {"hellaswag": [web.url("/hellaswag_val.jsonl")]}})
    entries = {entry.stage.name: entry for entry in recipe.open(until="eval-sets").plan}
    assert (entries["eval-sets"].action, entries["eval-sets"].reason) == (
        "run",
        f"1 file, {len(web.files['/hellaswag_val.jsonl'])} B to fetch",
    )
    made = recipe.run(until="eval-sets")
    assert made["eval-sets"].manifest.files
    assert recipe.open(until="eval-sets").has_work() is False


def test_inputs_in_a_bucket(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving_s3() as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with new_bucket() as bucket:
            for number, name in enumerate(NAMES):
                with fsspec.open(f"{bucket}/c4/{name}", "wb") as file:
                    file.write(released(number))
            recipe.write(f"{bucket}/c4/*.json.gz")
            size = sum(len(released(number)) for number in range(2))
            assert recipe.actions()["acquire-c4"] == ("run", f"2 files, {size} B to fetch")
            assert recipe.run()["c4-read"].manifest.funnel["rows_in"] == 40
    assert recipe.actions()["c4-read"] == ("reuse", "unchanged")  # the server is gone


def test_the_command_line_runs_from_a_server_and_then_without_it(web: Web, recipe: Recipe, tmp_path: Path) -> None:
    path = recipe.write(f"sums+{web.url('/c4/SHA256SUMS')}")
    command = [
        sys.executable,
        "-m",
        "flows",
        "run",
        str(path),
        "--until",
        "c4-read",
        "--no-prefect",
        "--store",
        str(tmp_path / "runs"),
    ]
    first = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert first.returncode == 0, first.stderr
    assert len(web.gets()) == 3
    second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert second.returncode == 0 and "nothing to do" in second.stdout
    assert len(web.gets()) == 3


def quipu(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_fetch_lists_then_fetches_then_has_nothing_to_do(web: Web, tmp_path: Path) -> None:
    address, folder = f"sums+{web.url('/c4/SHA256SUMS')}#*-1.*", tmp_path / "raw"
    assert "to fetch" in quipu("fetch", address, "--out", folder, "--list")
    assert [asked.path for asked in web.gets()] == ["/c4/SHA256SUMS"]
    quipu("fetch", address, "--out", folder)
    assert (folder / NAMES[1]).read_bytes() == web.files[f"/c4/{NAMES[1]}"]
    web.asked.clear()
    said = json.loads(quipu("fetch", address, "--out", folder, "--json"))["files"]
    assert web.asked == []
    assert said == [
        {
            "name": NAMES[1],
            "address": web.url(f"/c4/{NAMES[1]}"),
            "bytes": len(web.files[f"/c4/{NAMES[1]}"]),
            "sha256": hashlib.sha256(web.files[f"/c4/{NAMES[1]}"]).hexdigest(),
            "checksum": f"sha256:{hashlib.sha256(web.files[f'/c4/{NAMES[1]}']).hexdigest()}",
            "path": str(folder / NAMES[1]),
        }
    ]


def test_fetch_without_a_folder_fills_the_cache_of_a_run(web: Web, recipe: Recipe, tmp_path: Path) -> None:
    recipe.write(f"sums+{web.url('/c4/SHA256SUMS')}")
    quipu("fetch", f"sums+{web.url('/c4/SHA256SUMS')}", "--store", tmp_path / "runs", "--set", "connections=1")
    web.asked.clear()
    recipe.run()
    assert web.asked == []


def test_what_fetch_cannot_do_is_told(web: Web, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="connections: expected"):
        quipu("fetch", web.url("/c4/c4-0.json.gz"), "--out", tmp_path, "--set", "connections=0")
    with pytest.raises(RecipeError, match="a web server cannot be asked"):
        quipu("fetch", web.url("/c4/"), "--out", tmp_path)
    with pytest.raises(RecipeError, match="there is nothing there"):
        quipu("fetch", f"sums+{web.url('/c4/SHA256SUMS')}#*.txt", "--out", tmp_path)
    with pytest.raises(StageFailed, match="404"):
        quipu("fetch", web.url("/none.gz"), "--out", tmp_path)
