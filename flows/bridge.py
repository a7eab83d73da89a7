"""Between the command line and Prefect: where its server is, where its files lie, and how a flow is called from here.

Prefect keeps its own things under the store (`.prefect`). With no server answering, an ephemeral one serves the run.
"""

import json
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flows.session import Request

HOME = ".prefect"
SERVER_RECORD = "server.json"


def run_with_prefect(request: "Request") -> None:
    """Run the whole recipe as a Prefect flow in this process. Raises what a stage raised."""
    prepare_prefect(request.store)
    from flows.pipeline import pipeline

    pipeline(**flow_parameters(request))


def flow_parameters(request: "Request") -> dict[str, object]:
    """The request as the parameters every flow takes."""
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
    """Environment that every Prefect process of a store shares: one home, JSON results, nothing sent anywhere."""
    home = prefect_home(store_root)
    return {
        "PREFECT_HOME": str(home),
        "PREFECT_LOCAL_STORAGE_PATH": str(home / "results"),
        "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
        "DO_NOT_TRACK": "1",
    }


def prepare_prefect(store_root: str) -> str | None:
    """Set the environment for this process, before Prefect is imported; returns the server's address if one answers."""
    for name, value in prefect_settings(store_root).items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    prefect_home(store_root).mkdir(parents=True, exist_ok=True)
    address = answering_server(store_root)
    if address:
        os.environ["PREFECT_API_URL"] = address
    else:
        os.environ.pop("PREFECT_API_URL", None)
    return address


def answering_server(store_root: str) -> str | None:
    """The API address of the environment or of `quipu up`, if it answers."""
    candidates = [os.environ.get("PREFECT_API_URL")]
    try:
        candidates.append(json.loads((prefect_home(store_root) / SERVER_RECORD).read_text())["api"])
    except (OSError, ValueError, KeyError):
        pass
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
