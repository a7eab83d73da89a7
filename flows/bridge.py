"""Between the command line and Prefect: where its server is, where its files lie, and how a flow is called from here.

Prefect keeps its own things under the store (`.prefect`), so that two stores never mix. A run uses the server that
answers; where none does, it brings one of its own that lives as long as the run.
"""

import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flows.session import Request

HOME, RESULTS = ".prefect", "results"
SERVER_RECORD = "server.json"
HEARTBEAT_SECONDS = 30


def run_with_prefect(request: "Request") -> None:
    """Run the whole recipe as a Prefect flow in this process. Raises what a stage raised."""
    ready = _prepare_prefect(request.store)
    import httpx

    from flows.pipeline import pipeline  # takes as long as the server does
    from tasks.stage import Transient

    ready()
    try:
        pipeline(**flow_parameters(request))
    except httpx.HTTPError as error:
        lost = f"Prefect's server at {os.environ['PREFECT_API_URL']} fails ({error})"
        raise Transient(
            f"{lost}; everything finished is kept, the same command goes on from here, --no-prefect does without"
        ) from error


def flow_parameters(request: "Request") -> dict[str, object]:
    """The request as the parameters of the flow `pipeline`."""
    return {
        "recipe": request.recipe,
        "overrides": list(request.overrides),
        "store": request.store,
        "first": request.first,
        "until": request.until,
        "only": request.only,
        "forced": list(request.forced),
    }


def prefect_home(store_root: str) -> Path:
    """Where Prefect's database, results and server record lie for a store."""
    base = Path("runs") if "://" in store_root else Path(store_root)
    return base.absolute() / HOME


def prefect_settings(store_root: str) -> dict[str, str]:
    """Environment that every Prefect process of a store shares: one home, one store, JSON results, nothing sent anywhere."""
    home = prefect_home(store_root)
    return {
        "QUIPU_STORE": store_root if "://" in store_root else str(Path(store_root).absolute()),
        "PREFECT_HOME": str(home),
        "PREFECT_LOCAL_STORAGE_PATH": str(home / RESULTS),
        "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS),
        "PREFECT_WORKER_QUERY_SECONDS": "3",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",  # we start our own, which dies with the run
        "DO_NOT_TRACK": "1",
    }


def answering_server(store_root: str) -> str | None:
    """The API address of the environment or of `quipu up`, if it answers."""
    candidates = [os.environ.get("PREFECT_API_URL")]
    with suppress(OSError, ValueError, KeyError):
        candidates.append(json.loads((prefect_home(store_root) / SERVER_RECORD).read_text())["api"])
    return next((address for address in candidates if address and answers(address)), None)


def answers(address: str) -> bool:
    """Whether a Prefect API is healthy at this address."""
    if not address.startswith(("http://", "https://")):
        return False
    try:
        with urllib.request.urlopen(f"{address.rstrip('/')}/health", timeout=2) as reply:
            return reply.status == 200
    except (OSError, urllib.error.URLError, ValueError):
        return False


def _prepare_prefect(store_root: str) -> Callable[[], None]:
    """Set the environment before Prefect is imported, and see to a server; returns what waits until it answers.

    Prefect's own log stays off the console.
    """
    os.environ.update(prefect_settings(store_root))
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    prefect_home(store_root).mkdir(parents=True, exist_ok=True)
    asked, address = os.environ.get("PREFECT_API_URL"), answering_server(store_root)
    if asked and address != asked:
        print(f"PREFECT_API_URL={asked} does not answer; going on with {address or 'a server of this run'}", flush=True)
    ready: Callable[[], None] = lambda: None  # noqa: E731
    if address is None:
        from flows.local_server import serve_this_run

        address, ready = serve_this_run(store_root)
    os.environ["PREFECT_API_URL"] = address
    return ready
