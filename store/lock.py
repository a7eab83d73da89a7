"""One writer per artifact: a lock that knows its owner and outlives nobody (stage contract 5).

A lock is a file `lock.<n>` made by exclusive creation, on disks and object stores alike; the highest generation counts.
A dead owner is succeeded by creating the next generation, which exactly one of many can do; the successor then looks
again, ends what survives of its predecessor, and only then removes the older generations. Whoever owns a generation is
the only one to remove older ones: that is why a second look settles every race.

On the same host an owner is dead when its (boot, pid, start time) is; elsewhere when its heartbeat is too old.
"""

import json
import random
import re
import secrets
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from store import heartbeat
from store.crash_points import crash_point
from store.errors import LockHeld, LockLost, StoreError
from store.files import Files
from store.owner import Owner, this_process
from store.process import is_alive, kill_process_tree, process_start_time

STALE_AFTER = 60.0  # seconds without a heartbeat after which an owner elsewhere is taken for dead (chosen)
HEARTBEAT_AFTER = 5.0  # seconds held before the heartbeat starts: short stages do not pay for it (chosen)
_LOCK = re.compile(r"lock\.(\d+)$")
_CHANGING_HANDS = "it is changing hands"


@dataclass(frozen=True)
class Holder:
    """One generation of a lock as it was found: who made it, and its exact bytes."""

    generation: int
    content: bytes
    owner: Owner | None  # None when the record cannot be read
    nonce: str
    text: str


class StageLock:
    """The lock of one directory of the store; a context manager that acquires on entry and releases on exit."""

    def __init__(
        self,
        files: Files,
        directory: str,
        *,
        owner: str = "",
        wait: float = 0.0,
        stale_after: float = STALE_AFTER,
        heartbeat_after: float = HEARTBEAT_AFTER,
        held: dict[str, "StageLock"] | None = None,
    ) -> None:
        self.directory, self.stale_after = directory, stale_after
        self._files, self._note, self._wait, self._heartbeat_after = files, owner, wait, heartbeat_after
        self._all_held = {} if held is None else held  # the store's own list of the locks that it holds
        self._process = this_process()
        self._nonce = secrets.token_hex(8)
        self._generation = 0
        self._released = threading.Event()
        self._keeper: threading.Thread | None = None

    @property
    def held(self) -> bool:
        """Whether this process has acquired the lock and not released it; `check` also asks the disk."""
        return self._generation > 0 and this_process() == self._process

    def acquire(self, wait: float = 0.0) -> "StageLock":
        """Become the owner, waiting up to `wait` seconds for a living one; raises LockHeld with the owner's name."""
        if self.held:
            return self
        self._process = this_process()
        self._released.clear()
        deadline = time.monotonic() + max(wait, self._wait)
        patience = time.monotonic() + 2.0  # a change of hands takes milliseconds; it is not a reason to give up
        pause = 0.01
        while (reason := self._try()) is not None:
            now = time.monotonic()
            if now > deadline and (reason is not _CHANGING_HANDS or now > patience):
                raise LockHeld(
                    f"{self.directory}: {reason} writes it; wait for it to finish, or stop it, and run again"
                    if reason is not _CHANGING_HANDS
                    else f"{self.directory}: its lock keeps changing hands; run again"
                )
            time.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(1.0, pause * 1.5)
        self._keeper = threading.Thread(target=self._keep, name=f"lock {self.directory}", daemon=True)
        self._keeper.start()
        self._all_held[self.directory] = self
        return self

    def release(self) -> None:
        """Give the lock back; nothing of it remains. A forked child releases nothing."""
        if not self.held:
            return
        self._all_held.pop(self.directory, None)
        self._released.set()
        if self._keeper is not None:
            self._keeper.join()
        mine = self._read(self._generation)
        for suffix in ("pids", "beat"):
            self._files.remove(self._side(suffix))
        if mine is not None and mine.nonce == self._nonce:
            self._files.remove(self._name(self._generation))
        self._generation = 0

    def check(self) -> None:
        """Raise LockLost unless this lock is still ours: the fence before anything is committed."""
        if not self.held:
            raise LockLost(f"{self.directory}: not locked by this process; take the lock before writing")
        patience = time.monotonic() + 1.0  # somebody may have created a generation in error and be withdrawing it
        while True:
            holders = self._holders()
            mine = next((each for each in holders if each.nonce == self._nonce), None)
            rivals = [each for each in holders if each.generation > self._generation and not _known_dead(each)]
            if mine is not None and not rivals:
                return
            if mine is None or time.monotonic() > patience:
                taker = f" by {rivals[-1].text}" if rivals else ""
                raise LockLost(f"{self.directory}: the lock was taken over{taker}; this attempt is not committed, run again")
            time.sleep(0.02)

    def register_process(self, pid: int) -> None:
        """Put a child on record: if we die and it does not, whoever takes over kills it (and its children) first."""
        start = process_start_time(pid)
        if self.held and start is not None:
            self._files.append(self._side("pids"), f"{pid} {start}\n".encode())

    def __enter__(self) -> "StageLock":
        return self.acquire()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()

    def _try(self) -> str | None:
        """One attempt to become the owner: None on success, else who stands in the way."""
        before = self._holders()
        for holder in before:
            if not self._is_dead(holder):
                return holder.text
        newest = before[-1].generation if before else 0
        if not self._files.create(self._name(newest + 1), self._record()):
            return _CHANGING_HANDS
        crash_point("lock-created")
        if not self._confirmed(newest + 1, before):
            self._files.remove(self._name(newest + 1))
            return _CHANGING_HANDS
        self._generation = newest + 1
        try:
            self._succeed(before)
        except BaseException:
            self.release()
            raise
        return None

    def _confirmed(self, generation: int, before: list[Holder]) -> bool:
        """Whether nothing has moved between our look and our creation: then no other can have succeeded."""
        now = self._holders()
        if not now or now[-1].generation != generation or now[-1].nonce != self._nonce:
            return False
        seen = {each.generation: each.content for each in before}
        older = {each.generation: each.content for each in now[:-1]}
        unchanged = all(seen.get(number) == content for number, content in older.items())
        return unchanged and (not before or before[-1].generation in older)

    def _succeed(self, before: list[Holder]) -> None:
        """End what survives of the dead owners, then remove their generations."""
        for holder in before:
            survivors = [] if holder.owner is None else self._survivors(holder, holder.owner)
            for pid, start in survivors:
                if not kill_process_tree(pid, start):
                    raise StoreError(f"{self.directory}: process {pid} of a former owner cannot be ended; end it and run again")
        crash_point("lock-survivors-killed")
        for name in self._files.names(self.directory):
            if name.startswith("lock.") and not _LOCK.fullmatch(name) and self._nonce not in name:
                self._files.remove(f"{self.directory}/{name}")
        for holder in before:
            self._files.remove(self._name(holder.generation))

    def _survivors(self, holder: Holder, owner: Owner) -> list[tuple[int, int]]:
        here = this_process()
        if (owner.machine, owner.boot, owner.namespace) != (here.machine, here.boot, here.namespace):
            return []
        try:
            lines = self._files.read(f"{self._name(holder.generation)}.{holder.nonce}.pids").decode().splitlines()
        except FileNotFoundError:
            return []
        found = [(int(pid), int(start)) for pid, start in (line.split() for line in lines if line.count(" ") == 1)]
        return [(pid, start) for pid, start in found if is_alive(pid, start)]

    def _is_dead(self, holder: Holder) -> bool:
        fate = "unknown" if holder.owner is None else holder.owner.fate()
        if fate != "unknown":
            return fate == "dead"
        lock = self._name(holder.generation)
        ages = [age for name in (lock, f"{lock}.{holder.nonce}.beat") if (age := self._files.age(name)) is not None]
        return bool(ages) and min(ages) > self.stale_after

    def _holders(self) -> list[Holder]:
        """The generations on disk, oldest first."""
        numbers = sorted(int(match[1]) for name in self._files.names(self.directory) if (match := _LOCK.fullmatch(name)))
        return [holder for number in numbers if (holder := self._read(number)) is not None]

    def _read(self, generation: int) -> Holder | None:
        try:
            content = self._files.read(self._name(generation))
        except FileNotFoundError:
            return None
        return _holder(generation, content)

    def _record(self) -> bytes:
        record = {"owner": self._process.to_dict(), "note": self._note, "nonce": self._nonce, "since": time.time()}
        return json.dumps(record).encode()

    def _name(self, generation: int) -> str:
        return f"{self.directory}/lock.{generation}"

    def _side(self, suffix: str) -> str:
        return f"{self._name(self._generation)}.{self._nonce}.{suffix}"

    def _keep(self) -> None:
        """Beat until released. This thread starts the heartbeat and must outlive it: the kernel counts threads as parents."""
        if self._released.wait(self._heartbeat_after):
            return
        beat, interval = self._side("beat"), self.stale_after / 6
        while True:
            with suppress(OSError):  # the disk or the network may be away for a while; the next beat tries again
                if self._files.size(self._name(self._generation)) is None:
                    return  # taken over
                self._files.touch(beat)
                if self._files.local is not None and self._beat_apart(self._files.local, beat, interval):
                    return
            if self._released.wait(interval):
                return

    def _beat_apart(self, root: Path, beat: str, interval: float) -> bool:
        """Let a process of its own beat until the lock is released; False when it ended by itself."""
        arguments = [str(root / beat), str(root / self._name(self._generation)), str(interval), str(self._process.pid)]
        command = [sys.executable, "-I", "-S", str(Path(heartbeat.__file__)), *arguments]
        quiet = subprocess.DEVNULL
        with subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True) as process:
            while not self._released.wait(interval):
                if process.poll() is not None:
                    return False
            process.kill()
        return True


def lock_holder(files: Files, directory: str) -> str | None:
    """Who holds the lock of a directory now, for people; None when nobody living does."""
    lock = StageLock(files, directory)
    return next((holder.text for holder in lock._holders() if not lock._is_dead(holder)), None)


def _known_dead(holder: Holder) -> bool:
    return holder.owner is not None and holder.owner.fate() == "dead"


def _holder(generation: int, content: bytes) -> Holder:
    try:
        record: dict[str, Any] = json.loads(content)
        owner = Owner.from_dict(record["owner"])
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record["since"]))
        note = f"{record['note']}, " if record["note"] else ""
        return Holder(generation, content, owner, str(record["nonce"]), f"{note}pid {owner.pid} on {owner.host} since {since}")
    except (ValueError, KeyError, TypeError, AttributeError):  # left by a power cut, or being written without hard links
        return Holder(generation, content, None, "", "somebody whose record cannot be read")
