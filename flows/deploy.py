"""`quipu deploy`: work pools, limits and the deployments of `prefect.yaml`, registered with the server that answers.

Everything is created or brought up to date, so that it can be called again; schedules stay as the operator set them,
inactive at first.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from flows.bridge import answering_server, prefect_settings
from store.errors import StoreError

ROOT = Path(__file__).resolve().parent.parent
POOLS = ("cpu",)
LIMITS = {"training": 1}


def deploy_all(store: str) -> Iterator[str]:
    """Register everything; yields one line a thing. Raises StoreError when no server answers or Prefect refuses."""
    address = answering_server(store)
    if address is None:
        raise StoreError("no Prefect server answers; start one with `quipu up`, or set PREFECT_API_URL")
    environment = os.environ | prefect_settings(store) | {"PREFECT_API_URL": address}
    for pool in POOLS:
        _prefect(["work-pool", "create", pool, "--type", "process", "--overwrite"], environment)
        yield f"work pool {pool}"
    for tag, limit in LIMITS.items():
        _prefect(["concurrency-limit", "create", tag, str(limit)], environment)
        yield f"at most {limit} task with tag {tag!r} at a time"
    _prefect(["deploy", "--all"], environment)
    for name in _deployments(environment):
        yield f"deployment {name}"


def _deployments(environment: dict[str, str]) -> list[str]:
    import yaml

    described = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
    return [f"{entry['entrypoint'].split(':')[1]}/{entry['name']}" for entry in described["deployments"]]


def _prefect(arguments: list[str], environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "prefect", "--no-prompt", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise StoreError(f"prefect {' '.join(arguments)}: {(done.stderr or done.stdout).strip()}")
