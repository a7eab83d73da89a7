"""`quipu up`, `down`, `stop`, `deploy` and `doctor`: the server and worker on this machine, deployments, the environment."""

from typing import Annotated

import typer

from flows.commands.options import DEFAULT_STORE, AsJson, StoreRoot, print_json


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for command in (up, down, stop, deploy, doctor):
        app.command(command.__name__)(command)


def up(
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port of the dashboard, on the loopback address.")] = 4200,
    store: StoreRoot = DEFAULT_STORE,
) -> None:
    """Start a Prefect server and a worker on this machine, in the background; may be called again.

    Example: quipu up && quipu deploy
    """
    from flows.local_server import start

    print(start(store, port))


def down(store: StoreRoot = DEFAULT_STORE) -> None:
    """Stop the server and the worker that `quipu up` started.

    Example: quipu down
    """
    from flows.local_server import stop as end

    print(end(store))


def stop(store: StoreRoot = DEFAULT_STORE) -> None:
    """Stop what is under way on this store: ranks save, what is finished is kept.

    Example: quipu stop
    """
    import os
    import signal

    from flows.commands.options import open_store
    from store import runs
    from store.errors import StoreError
    from store.owner import Owner

    under_way = [run for run in runs.list(open_store(store)) if run.state == "running"]
    if not under_way:
        raise StoreError(f"{store}: no run is under way")
    for run in under_way:
        owner = Owner.from_dict(run.owner)
        if owner.fate() == "alive":
            os.kill(owner.pid, signal.SIGTERM)
            print(f"asked run {run.id} to stop; `quipu status` says when it has")
        else:
            print(
                f"run {run.id} belongs to process {owner.pid} on {owner.host}, which cannot be reached from here; stop it there"
            )


def deploy(store: StoreRoot = DEFAULT_STORE) -> None:
    """Register work pools, limits and the deployments of prefect.yaml, schedules inactive; may be called again.

    Example: quipu deploy
    """
    from flows.deploy import deploy_all

    for line in deploy_all(store):
        print(line)


def doctor(store: StoreRoot = DEFAULT_STORE, as_json: AsJson = False) -> None:
    """Check this environment and say how to mend what is missing.

    Example: quipu doctor
    """
    from flows.doctor import examine

    findings = examine(store)
    if as_json:
        print_json({"findings": [vars(finding) for finding in findings]})
    else:
        for finding in findings:
            print(f"{finding.state:<8} {finding.subject:<18} {finding.said}")
            if finding.mend:
                print(f"{'':<27} → {finding.mend}")
    if any(finding.state == "missing" for finding in findings):
        raise typer.Exit(1)
