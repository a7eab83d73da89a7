"""The images, the compose file and the deployments name only what exists, and pass the linters of their formats."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
DOCKERFILES = sorted((ROOT / "docker").glob("Dockerfile.*"))
COMPOSE = yaml.safe_load((ROOT / "docker" / "compose.yml").read_text(encoding="utf-8"))
DEPLOYMENTS = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
BIN = Path(sys.executable).parent


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """(instruction, arguments) with continued lines joined and comments dropped."""
    kept = [line for line in dockerfile.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(kept))
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in joined.splitlines()) if name.isupper()]


def ids(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=ids(DOCKERFILES))
def test_hadolint_has_nothing_to_say(dockerfile: Path) -> None:
    said = subprocess.run([BIN / "hadolint", dockerfile], capture_output=True, text=True)
    assert said.returncode == 0, said.stdout + said.stderr


def test_the_compose_file_fits_the_specification() -> None:
    command = [BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", ROOT / "docker" / "compose.yml"]
    said = subprocess.run(command, capture_output=True, text=True)
    assert said.returncode == 0, said.stdout + said.stderr


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=ids(DOCKERFILES))
def test_every_copied_file_exists_and_is_not_ignored(dockerfile: Path) -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    copied = [rest.split()[:-1] for name, rest in instructions(dockerfile) if name == "COPY" and "--from" not in rest]
    for source in [source for sources in copied for source in sources]:
        assert (ROOT / source).exists(), f"{dockerfile.name} copies {source}"
        assert source.split("/")[0] not in ignored, f".dockerignore keeps {source} from {dockerfile.name}"


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=ids(DOCKERFILES))
def test_every_package_of_the_project_is_copied(dockerfile: Path) -> None:
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    copied = {word for name, rest in instructions(dockerfile) if name == "COPY" for word in rest.split()}
    assert {package.split(".")[0] for package in packages} <= copied
    assert {"configs", "prefect.yaml"} <= copied, "the worker runs recipes and deploys"


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=ids(DOCKERFILES))
def test_the_command_is_there_and_runs_as_nobody_special(dockerfile: Path) -> None:
    said = dict(instructions(dockerfile))  # the last of each kind counts
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    entry, command = json.loads(said["ENTRYPOINT"]), json.loads(said["CMD"])
    assert entry[0] in " ".join(rest for name, rest in instructions(dockerfile) if name == "RUN").split()
    assert command[0] in scripts
    assert said["USER"].isdigit() and said["USER"] != "0"


def test_compose_builds_what_exists_and_agrees_with_itself() -> None:
    services = COMPOSE["services"]
    build = services["server"]["build"]
    assert (ROOT / "docker" / build["context"] / build["dockerfile"]).is_file()
    assert services["worker"]["image"] == services["server"]["image"]
    for service in services.values():
        assert set(service.get("depends_on", {})) <= set(services)
        named = [volume.split(":")[0] for volume in service.get("volumes", []) if not volume.startswith((".", "/"))]
        assert set(named) <= set(COMPOSE["volumes"])
    assert all(port.startswith("127.0.0.1:") for service in services.values() for port in service.get("ports", []))


def test_the_worker_keeps_its_results_where_the_command_line_looks() -> None:
    from flows.bridge import prefect_settings

    worker = COMPOSE["services"]["worker"]
    settings = prefect_settings("/opt/quipu/runs")
    for name in set(worker["environment"]) & set(settings):
        assert worker["environment"][name] == settings[name]
    assert any(volume.endswith(":/opt/quipu/runs") for volume in worker["volumes"])


def test_compose_sets_only_settings_that_prefect_knows(asked_of_prefect: dict[str, Any]) -> None:
    named = {
        name for service in COMPOSE["services"].values() for name in service.get("environment", {}) if name.startswith("PREFECT_")
    }
    assert named and named <= set(asked_of_prefect["settings"])


def test_the_pools_of_deployments_have_a_worker() -> None:
    from flows.local_server import POOL

    wanted = {entry["work_pool"]["name"] for entry in DEPLOYMENTS["deployments"]}
    command = COMPOSE["services"]["worker"]["command"]
    assert wanted == {POOL} == {command[command.index("--pool") + 1]}


@pytest.mark.parametrize("entry", DEPLOYMENTS["deployments"], ids=lambda entry: entry["name"])
def test_a_deployment_names_a_flow_with_its_parameters(entry: dict[str, Any], asked_of_prefect: dict[str, Any]) -> None:
    assert set(entry["parameters"]) <= set(asked_of_prefect["flows"][entry["entrypoint"]])
    assert (ROOT / entry["parameters"]["recipe"]).is_file()
    assert not any(schedule["active"] for schedule in entry.get("schedules", [])), "schedules are shipped inactive"


@pytest.fixture(scope="module")
def asked_of_prefect(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Names of Prefect's environment variables, and parameters of the deployed flows, from a process of its own."""
    code = """
import json, sys
from importlib import import_module
from prefect.settings import Settings

def walk(model):
    prefix = model.model_config.get("env_prefix", "")
    for name, info in model.model_fields.items():
        alias = info.validation_alias
        yield from (str(each).upper() for each in getattr(alias, "choices", None) or [f"{prefix}{name}"])
        if hasattr(info.annotation, "model_fields"):
            yield from walk(info.annotation)

entries = {entry: getattr(import_module(entry.split(":")[0]), entry.split(":")[1]) for entry in sys.argv[1:]}
flows = {entry: list(flow.parameters.properties) for entry, flow in entries.items()}
print(json.dumps({"settings": sorted(set(walk(Settings))), "flows": flows}))
"""
    entries = [entry["entrypoint"] for entry in DEPLOYMENTS["deployments"]]
    environment = os.environ | {"PREFECT_HOME": str(tmp_path_factory.mktemp("prefect"))}
    command = [sys.executable, "-c", code, *entries]
    said = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    found: dict[str, Any] = json.loads(said.stdout)
    return found
