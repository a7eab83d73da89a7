"""The engine: runs one stage under its contract, with or without Prefect above it.

Take the lock, look again whether the artifact is there, open an attempt, run the body (its shards commit alone), hash
what it declared, write the manifest last. Whatever stops it in between costs only the shards in flight.
"""

import io
import logging
import os
import resource
import shutil
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from data.documents import CorpusError
from store.artifact import Artifact
from store.canonical import sha256_file
from store.crash_points import crash_point
from store.errors import LockHeld, StoreError, StoreUnreachable
from store.lock import StageLock, lock_holder
from store.manifest import FileEntry, Manifest, Parent, content_digest
from store.process import MemoryWatch
from store.space import require_free
from store.store import Attempt, Store
from tasks import shards as shard_files
from tasks.code_digest import code_digest, module_digests, tool_versions
from tasks.executor import Executor
from tasks.hosts import world_size
from tasks.identity import config_record, stage_fingerprint, stage_seed
from tasks.progress import Progress
from tasks.raw_inputs import CACHE, is_remote, patterns, raw_folder, referenced_stages, resolve, resolve_patterns
from tasks.recipe import Recipe, Resources, section
from tasks.stage import RawFile, Shard, ShardResult, Stage, StageContext, StageFailed, Transient

RETRIES = 2
RETRY_SECONDS = 5.0
PART_POLL_SECONDS = 1.0
WAIT_SECONDS = 7 * 86400.0  # for another run's lock; its death is seen at once


class Engine:
    """Runs stages of one recipe on one store with one executor."""

    def __init__(self, store: Store, recipe: Recipe, executor: Executor, progress: Progress) -> None:
        self.store, self.recipe, self.executor, self.progress = store, recipe, executor, progress

    def raw_files(self, stage: Stage, artifacts: Mapping[str, Artifact]) -> list[RawFile] | None:
        """The raw files of a stage that reads a source, wherever they lie now."""
        return raw_files(self.store, self.recipe, stage, artifacts)

    def fingerprint(self, stage: Stage, artifacts: Mapping[str, Artifact]) -> str:
        """The stage's fingerprint; all its inputs must be known. Raises NotFetched for raw files that have still to come."""
        return known_fingerprint(self.store, self.recipe, stage, artifacts)

    def run(self, stage: Stage, artifacts: Mapping[str, Artifact], *, new_attempt: bool = False) -> Artifact:
        """The stage's artifact: found, or made. `new_attempt` makes it again whatever is there.

        Raises StageFailed for what the user can mend, Transient for what may pass, StoreError for the store.
        """
        if _takes_raw_content(stage):
            self._fetch(stage, bytes_too=False)
        fingerprint = self.fingerprint(stage, artifacts)
        if not new_attempt and (found := self.store.find(stage.name, fingerprint)):
            self.progress.stage_reused(stage.name)
            return found
        require_free(local_part(self.store), int(self.recipe.resources.min_free_gib * 2**30))
        whole = self._whole(stage, fingerprint, artifacts) if stage.part_of else None
        with self._lock(stage, fingerprint) as lock:
            if not new_attempt and (found := self.store.find(stage.name, fingerprint)):
                self.progress.stage_reused(stage.name)
                return found
            if _takes_raw_bytes(stage):
                self._fetch(stage, bytes_too=True)
            attempt = self.store.attempt(stage.name, fingerprint, new=new_attempt)
            return _StageRun(self, stage, fingerprint, artifacts, attempt, lock, whole).run()

    def leave_part(
        self, part: Stage, artifacts: Mapping[str, Artifact], whole: Path, is_right: Callable[[Artifact], bool]
    ) -> Artifact:
        """The artifact of a part, from the files in `whole` of the stage that leaves it; one that is there is asked whether
        it `is_right`, and else made again."""
        quiet = Engine(self.store, self.recipe, self.executor, Progress(io.StringIO()))
        fingerprint = self.fingerprint(part, artifacts)
        with self._lock(part, fingerprint) as lock:
            found = self.store.find(part.name, fingerprint)
            if found and is_right(found):
                return found
            attempt = self.store.attempt(part.name, fingerprint, new=found is not None)
            return _StageRun(quiet, part, fingerprint, artifacts, attempt, lock, whole).run()

    def run_with_retries(self, stage: Stage, artifacts: Mapping[str, Artifact], *, new_attempt: bool = False) -> Artifact:
        """As `run`; what may pass is tried again, continuing from what was committed."""
        for retry in range(RETRIES + 1):
            try:
                return self.run(stage, artifacts, new_attempt=new_attempt and retry == 0)
            except Transient as error:
                if retry == RETRIES:
                    raise
                self.progress.note(f"{stage.name}: {_first_line(error)}; trying again ({retry + 1} of {RETRIES})")
                time.sleep(RETRY_SECONDS * (retry + 1))
        raise AssertionError("unreachable")

    def _fetch(self, stage: Stage, *, bytes_too: bool) -> None:
        """Bring files of addresses here: those whose digests are not known, and with `bytes_too` all whose bytes are gone."""
        given = [text for text in raw_patterns(self.recipe, stage) if is_remote(text)]
        if not given:
            return
        from tasks.remote_inputs import RemoteInputs  # HTTP and fsspec only where an input needs them

        self.progress.stage_started(stage.name)
        inputs = RemoteInputs.of(raw_cache(self.store), self.recipe.resources)
        try:
            inputs.fetch(
                given,
                bytes_too=bytes_too,
                report=lambda done: self.progress.stage_progress(
                    stage.name, done.bytes / 2**20, done.of_bytes / 2**20, f"{done}, MiB"
                ),
                note=lambda text: self.progress.note(f"{stage.name}: {text}"),
            )
        except Exception as error:
            self.progress.stage_failed(stage.name, _first_line(error))
            raise

    def _whole(self, stage: Stage, fingerprint: str, artifacts: Mapping[str, Artifact]) -> Path | None:
        """The folder of the artifact that leaves this stage on its way. While another run makes that one, the part is waited
        for; None when it has come."""
        assert stage.part_of is not None
        by = stage.part_of.name
        place, waiting = f"{by}/{self.fingerprint(stage.part_of, artifacts)}", False
        while not self.store.find(stage.name, fingerprint):
            holder = lock_holder(self.store.files, place)  # asked first: who gives the lock back has left an artifact
            if made := self.store.find(*place.split("/")):
                return made.directory
            if holder is None:
                raise StageFailed(f"{stage.name} is left by {by} on its way, which is neither made nor running; run {by}")
            if not waiting:
                self.progress.note(f"{stage.name}: {place} is being made by {holder}; waiting for its part")
            waiting = True
            time.sleep(PART_POLL_SECONDS)
        return None

    @contextmanager
    def _lock(self, stage: Stage, fingerprint: str) -> Iterator[StageLock]:
        """The stage's lock; another run that holds it is waited for, so that nothing is made twice."""
        owner = f"run of {self.recipe.name}"
        try:
            lock = self.store.lock(stage.name, fingerprint, owner=owner).acquire()
        except LockHeld as held:
            self.progress.note(f"{stage.name}: {held}; waiting for it")
            lock = self.store.lock(stage.name, fingerprint, owner=owner).acquire(wait=WAIT_SECONDS)
        try:
            yield lock
        finally:
            lock.release()


def local_part(store: Store) -> Path:
    """A local folder that belongs to the store: its root, or that of the copies of a remote one."""
    return store.local_root or store.cache


def raw_cache(store: Store) -> Path:
    """Where files of addresses come to; it may be removed."""
    return raw_folder(local_part(store) / CACHE)


def raw_files(store: Store, recipe: Recipe, stage: Stage, artifacts: Mapping[str, Artifact]) -> list[RawFile] | None:
    """Files that a `raw` stage reads: those of its source, or of the benchmarks."""
    cache = local_part(store) / CACHE
    if stage.raw is None:
        return []
    if stage.raw != "evaluation":
        return resolve(recipe, stage.raw, artifacts, cache)
    files: list[RawFile] = []
    for name, given in recipe.evaluation.benchmarks.items():
        found = resolve_patterns(given, f"evaluation.benchmarks.{name}", artifacts, cache, recipe.resources)
        if found is None:
            return None
        files += [RawFile(f"{name}/{file.name}", file.path, file.size, file.sha256) for file in found]
    return files


def raw_patterns(recipe: Recipe, stage: Stage) -> tuple[str, ...]:
    """The paths, globs and addresses that a `raw` stage's files come from."""
    if stage.raw is None:
        return ()
    if stage.raw != "evaluation":
        return patterns(recipe, stage.raw)
    return tuple(text for given in recipe.evaluation.benchmarks.values() for text in given)


def known_fingerprint(store: Store, recipe: Recipe, stage: Stage, artifacts: Mapping[str, Artifact]) -> str:
    """Fingerprint of a stage whose inputs are all made."""
    raw = raw_files(store, recipe, stage, artifacts) if stage.raw and _takes_raw_content(stage) else None
    return stage_fingerprint(stage, recipe, {name: artifacts[name].digest for name in stage.inputs}, raw)


def ranks_of(stage: Stage, resources: Resources) -> Resources:
    """The resources as this stage sees them: tuning may run on fewer ranks than pretraining."""
    if not stage.tuning:
        return resources
    ranks = resources.tuning_ranks or resources.ranks
    threads = resources.tuning_threads_per_rank or resources.threads_per_rank
    return resources.model_copy(update={"ranks": ranks, "threads_per_rank": threads})


def _takes_raw_content(stage: Stage) -> bool:
    """Readers know their files through `acquire`; acquiring stages know them by content."""
    return not stage.name.endswith("-read")


def _takes_raw_bytes(stage: Stage) -> bool:
    """Acquiring stages only list what others open."""
    return stage.raw is not None and not stage.name.startswith("acquire-")


class _StageRun:
    """One attempt at one stage, from an open lock to a manifest."""

    def __init__(
        self,
        engine: Engine,
        stage: Stage,
        fingerprint: str,
        artifacts: Mapping[str, Artifact],
        attempt: Attempt,
        lock: StageLock,
        whole: Path | None = None,
    ) -> None:
        self.engine, self.stage, self.fingerprint, self.attempt, self.lock = engine, stage, fingerprint, attempt, lock
        self.whole = whole
        self.inputs = {name: artifacts[name] for name in stage.inputs}
        if _takes_raw_bytes(stage):
            for name in referenced_stages(raw_patterns(engine.recipe, stage)):
                if name in artifacts:
                    artifacts[name].paths()  # those of a remote store come here
        self.raw = engine.raw_files(stage, artifacts) or []
        self.declared: dict[str, tuple[int, str, int | None] | None] = {}
        self.digests = _known_digests(self.inputs, self.raw)
        self.worker_cpu = 0.0
        self.registered: set[int] = set()
        self.logger = _stage_logger(attempt.logs)

    def run(self) -> Artifact:
        started, clock, cpu = time.time(), time.monotonic(), _cpu_seconds()
        shard_files.sweep(self.attempt.directory, finished=False)
        self.engine.progress.stage_started(self.stage.name)
        try:
            context = self._context()
            with MemoryWatch() as memory:
                self.stage.load_body()(context)
                manifest = self._manifest(context)
        except StoreUnreachable as error:
            self._failed(error, str(error))
            raise Transient(str(error)) from error
        except (StageFailed, Transient, StoreError) as error:
            self._failed(error, str(error))
            raise
        except CorpusError as error:
            self._failed(error, str(error))
            raise StageFailed(str(error)) from error
        except (OSError, MemoryError) as error:
            self._failed(error, traceback.format_exc())
            raise Transient(f"{self.stage.name}: {error}") from error
        except Exception as error:
            self._failed(error, traceback.format_exc())
            raise StageFailed(
                f"{type(error).__name__}: {error} (in the stage's code; full account in {self.attempt.logs / 'stage.log'})"
            ) from error
        finally:
            self._close_log()
        self._say_what_came_out_empty(context)
        manifest.started, manifest.finished = started, time.time()
        manifest.wall_seconds = round(time.monotonic() - clock, 3)
        manifest.cpu_seconds = round(_cpu_seconds() - cpu + self.worker_cpu, 3)
        manifest.peak_rss_mib = round(memory.peak_mib, 1)
        crash_point("before-manifest")
        artifact = self.attempt.commit(manifest)
        for folder in context.discard:
            shutil.rmtree(folder, ignore_errors=True)
        self.engine.progress.stage_finished(self.stage.name, manifest)
        return artifact

    def _context(self) -> StageContext:
        recipe, stage = self.engine.recipe, self.stage
        resources = ranks_of(stage, recipe.resources)
        return StageContext(
            stage=stage,
            fingerprint=self.fingerprint,
            config={dotted: section(recipe, dotted) for dotted in stage.reads},
            inputs=self.inputs,
            raw=self.raw,
            directory=self.attempt.directory,
            scratch=self.attempt.scratch,
            logs=self.attempt.logs,
            resources=resources,
            map_shards=self._map,
            declare=self._declare,
            report=self._log,
            progress=lambda done, of, text: self.engine.progress.stage_progress(stage.name, done, of, text),
            register_process=self.lock.register_process,
            make_part=lambda part, is_right: self.engine.leave_part(part, self.inputs, self.attempt.directory, is_right),
            whole=self.whole,
            seed_value=stage_seed(recipe, stage),
            ranks=world_size(resources) if stage.kind == "training" else 1,
            threads=resources.threads_per_rank if stage.kind == "training" else 1,
        )

    def _map(
        self, context: StageContext, function: Callable[..., Any], shards: list[Shard], *, keep: bool, count: bool
    ) -> list[ShardResult]:
        directory, label = self.attempt.directory, function.__name__.replace("_", " ")
        calls = [shard_files.call_digest(function, shard, self.digests) for shard in shards]
        commits = [
            shard_files.read_commit(directory, shard, self.fingerprint, call, keep)
            for shard, call in zip(shards, calls, strict=True)
        ]
        missing = [index for index, commit in enumerate(commits) if commit is None]
        work = [(shard_files.make_shard, (function, directory, shards[i], self.fingerprint, calls[i], keep)) for i in missing]
        done = len(shards) - len(missing)
        self.engine.progress.stage_progress(self.stage.name, done, len(shards), label)
        for position, commit in self.engine.executor.run(work, directory, self.stage.body) if work else ():
            commits[missing[position]] = commit
            self.worker_cpu += commit.cpu_seconds
            done += 1
            self._register_workers()
            self.engine.progress.stage_progress(self.stage.name, done, len(shards), label)
            crash_point("between-shards")
        return [self._result(context, shard, commit, keep, count) for shard, commit in zip(shards, commits, strict=True)]

    def _register_workers(self) -> None:
        """Put new workers on record, so that who takes the lock over can end them."""
        for pid in set(self.engine.executor.pids()) - self.registered:
            self.lock.register_process(pid)
            self.registered.add(pid)

    def _result(self, context: StageContext, shard: Shard, commit: Any, keep: bool, count: bool) -> ShardResult:
        path = shard_files.shard_path(self.attempt.directory, shard.name, keep)
        value = commit.value
        if commit.funnel is not None:
            value = context.funnel.from_json(commit.funnel)
            if count:
                context.funnel.merge(value)
        for name, size, sha256, rows in commit.files:
            self.digests[path / name if name else path] = sha256
            if keep:
                self.declared["/".join(part for part in (shard.name.rstrip("/"), name) if part)] = (size, sha256, rows)
        if shard.name.endswith("/"):
            self.digests[path] = commit.digest
        return ShardResult(shard.name, path, value)

    def _declare(self, name: str, rows: int | None = None) -> None:
        self.declared[name] = None

    def _manifest(self, context: StageContext) -> Manifest:
        shard_files.sweep(self.attempt.directory, finished=True)
        files = sorted((self._entry(name, known) for name, known in self.declared.items()), key=lambda entry: entry.path)
        if not files:
            raise StageFailed(f"{self.stage.name}: nothing came out of it")
        stage = self.stage
        return Manifest(
            stage=stage.name,
            version=stage.version,
            fingerprint=self.fingerprint,
            attempt=self.attempt.name,
            files=files,
            digest=content_digest(files),
            config=config_record(stage, self.engine.recipe),
            parents=[Parent(name, artifact.fingerprint, artifact.digest) for name, artifact in self.inputs.items()],
            funnel=context.funnel.to_json(),
            metrics=context.metrics,
            code={"digest": code_digest(stage.body), "modules": module_digests(stage.body)},
            packages=tool_versions(stage.body),
            seed=context.seed_value,
            ranks=context.ranks,
            threads=context.threads,
        )

    def _entry(self, name: str, known: tuple[int, str, int | None] | None) -> FileEntry:
        path = self.attempt.directory / name
        if known is None:
            if not path.is_file():
                raise StageFailed(f"{self.stage.name}: declared {name} but did not write it")
            known = (path.stat().st_size, sha256_file(path), shard_files.rows_of(path))
        return FileEntry(name, *known)

    def _say_what_came_out_empty(self, context: StageContext) -> None:
        """A gate that lets nothing through ends well, but is hardly what was meant."""
        funnel = context.funnel
        if funnel.rows_in and not funnel.rows_out:
            rule, count = funnel.dropped.most_common(1)[0]
            self._log(f"nothing came through: all {funnel.rows_in:,} documents were dropped, {count:,} of them by {rule!r}")

    def _log(self, text: str) -> None:
        self.logger.info(text)
        self.engine.progress.note(f"{self.stage.name}: {text}")

    def _failed(self, error: Exception, account: str) -> None:
        self.logger.error(account)
        self.engine.progress.stage_failed(self.stage.name, _first_line(error))

    def _close_log(self) -> None:
        for handler in list(self.logger.handlers):
            handler.close()
            self.logger.removeHandler(handler)


def _known_digests(inputs: Mapping[str, Artifact], raw: list[RawFile]) -> dict[Path, str]:
    known = {file.path: file.sha256 for file in raw}
    for artifact in inputs.values():
        artifact.paths()  # of a remote store: fetched at once, so that a body finds all of its inputs here
        known |= {artifact.path(entry.path): entry.sha256 for entry in artifact.manifest.files}
    return known


def _stage_logger(folder: Path) -> logging.Logger:
    folder.mkdir(parents=True, exist_ok=True)
    logger = logging.Logger(f"stage.{os.getpid()}.{threading.get_ident()}")
    handler = logging.FileHandler(folder / "stage.log", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
    return logger


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _cpu_seconds() -> float:
    """CPU time of this process and of those it has waited for: ranks, compilers, lmplz."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
