"""The command line `quipu`: every command, its help and its exit code (0 done, 1 a stage failed, 2 the user's mistake).

Commands import what they use when they are called, so that `quipu --help` is quick.
"""

import os
import signal
import sys
from pathlib import Path
from types import FrameType

import typer

from flows.commands import corpus, estimate, exchange, fetch, inspect, make, operate, score, shelve, talk

app = typer.Typer(
    name="quipu",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Raw public corpora to an aligned chat model, one cached and restartable stage at a time.\n\n"
    "Example: quipu run configs/demo.yaml",
)
for group in (make, estimate, inspect, talk, score, exchange, shelve, fetch, corpus, operate):
    group.register(app)

FAILED, MISTAKE, INTERRUPTED = 1, 2, 130


class Interrupted(BaseException):
    """SIGTERM or SIGHUP: whatever runs saves and leaves."""


def main() -> None:
    """Entry point of the console script."""
    _stand_on_the_project()
    for sign in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(sign, _interrupt)
    try:
        code = app(standalone_mode=False)
    except (KeyboardInterrupt, Interrupted):
        _say("interrupted; everything finished is kept, the same command goes on from here")
        code = INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as error:
        code = _explain(error)
    sys.exit(code or 0)


def _explain(error: Exception) -> int:
    """Print what a person needs and choose the exit code; what is no known kind of failure keeps its traceback."""
    from data.documents import CorpusError
    from store.errors import NoSpace, StoreError
    from tasks.recipe_file import RecipeError
    from tasks.stage import StageFailed, Transient

    usage = getattr(error, "format_message", None)
    if usage is not None:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "quipu"
        _say(f"{usage()}\nSee `{command} --help`.")
        return MISTAKE
    if isinstance(error, (StageFailed, Transient, NoSpace)):
        _say(str(error))
        return FAILED
    if isinstance(error, (RecipeError, StoreError, CorpusError)):
        _say(str(error))
        return MISTAKE
    raise error


def _say(text: str) -> None:
    print(f"quipu: {text}", file=sys.stderr)


def _interrupt(sign: int, frame: FrameType | None) -> None:
    raise Interrupted


def _stand_on_the_project() -> None:
    """Refuse to run with another project's `data` or `model` package in the place of ours."""
    import data

    ours = Path(__file__).resolve().parent.parent / "data"
    if Path(str(data.__file__)).resolve().parent != ours:
        _say(f"the package `data` comes from {data.__file__}, not from this project; run from the project's own environment")
        sys.exit(MISTAKE)
