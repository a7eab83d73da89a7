"""`quipu doctor`: what a run needs on this machine, what is there, and how to mend what is not."""

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

PACKAGES = ("torch", "deepspeed", "prefect", "pyarrow", "sentencepiece", "fasttext", "kenlm", "datasketch", "fastapi")
MIN_DISK_GIB, MIN_MEMORY_GIB = 5, 6


@dataclass(frozen=True)
class Finding:
    """One thing looked at: `ok`, `note` (works, but know this) or `missing`."""

    subject: str
    state: Literal["ok", "note", "missing"]
    said: str
    mend: str = ""


def examine(store: str) -> list[Finding]:
    """Look at everything; never raises."""
    checks: list[Callable[[], Finding]] = [
        _python,
        *[_package(name) for name in PACKAGES],
        _compiler,
        _lmplz,
        _language_model,
        _kernels,
        _gpus,
        _memory,
    ]
    findings = [check() for check in checks]
    return [*findings, _disk(store), _prefect_api(store)]


def _python() -> Finding:
    return Finding("python", "ok", sys.version.split()[0])


def _package(name: str) -> Callable[[], Finding]:
    def check() -> Finding:
        try:
            installed = version(name)
        except PackageNotFoundError:
            return Finding(name, "missing", "not installed", "make setup")
        pinned = _pins().get(name)
        if pinned and installed.split("+")[0] != pinned:
            return Finding(name, "note", f"{installed}; tried with {pinned}", "make setup")
        return Finding(name, "ok", installed)

    return check


def _pins() -> dict[str, str]:
    path = Path(__file__).resolve().parent.parent / "constraints" / "cpu.txt"
    lines = path.read_text().splitlines() if path.is_file() else []
    return dict(line.split("==", 1) for line in lines if "==" in line and not line.startswith("#"))


def _compiler() -> Finding:
    found = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if found:
        return Finding("C++ compiler", "ok", found)
    return Finding("C++ compiler", "missing", "none found", "install one, for example: apt-get install g++")


def _lmplz() -> Finding:
    beside = Path(sys.executable).with_name("lmplz")
    found = str(beside) if beside.is_file() else shutil.which("lmplz")
    return Finding("lmplz", "ok", found) if found else Finding("lmplz", "missing", "KenLM's trainer is not built", "make setup")


def _language_model() -> Finding:
    from data.language import LanguageConfig, model_path

    try:
        path = Path(model_path(LanguageConfig()))
    except Exception as error:  # whatever keeps the model from being found is what the person must read
        return Finding("language model", "missing", str(error), "make setup")
    return Finding("language model", "ok", f"{path.name}, {path.stat().st_size:,} bytes")


def _kernels() -> Finding:
    from tasks.kernels import compiled

    try:
        there, kernels = compiled()
    except Exception as error:  # as above
        return Finding("compiled kernels", "missing", str(error), "make setup")
    said = f"{there} of {kernels} for this processor"
    if there == kernels:
        return Finding("compiled kernels", "ok", said)
    return Finding(
        "compiled kernels", "note", f"{said}; the first run waits for the others", f"{sys.executable} -m tasks.kernels"
    )


def _gpus() -> Finding:
    if not Path("/dev/nvidiactl").exists():
        return Finding("GPU", "note", "none; training runs on the CPU in fp32")
    import torch

    if not torch.cuda.is_available():
        return Finding(
            "GPU", "note", "a device is there but this torch cannot use it", "install the CUDA build: make setup PIP_ARGS=…"
        )
    names = {torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())}
    return Finding("GPU", "ok", f"{torch.cuda.device_count()} × {', '.join(sorted(names))}")


def _memory() -> Finding:
    try:
        fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        total, free = (int(fields[name].split()[0]) / 2**20 for name in ("MemTotal", "MemAvailable"))
    except (OSError, KeyError, ValueError):
        return Finding("memory", "note", "unknown")
    said = f"{free:.1f} of {total:.1f} GiB available"
    return Finding(
        "memory", "ok" if free >= MIN_MEMORY_GIB else "note", said, "" if free >= MIN_MEMORY_GIB else "the demo needs up to 6 GiB"
    )


def _disk(store: str) -> Finding:
    if "://" in store:
        return Finding("disk", "note", f"{store} is remote")
    place = Path(store).absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free / 2**30
    enough = free >= MIN_DISK_GIB
    return Finding(
        "disk", "ok" if enough else "note", f"{free:.1f} GiB free for {store}", "" if enough else "free some: quipu gc"
    )


def _prefect_api(store: str) -> Finding:
    from flows.bridge import answering_server

    address = answering_server(store)
    if address:
        return Finding("Prefect API", "ok", address)
    return Finding(
        "Prefect API", "note", "no server answers; runs start one of their own", "for dashboard and schedules: quipu up"
    )
