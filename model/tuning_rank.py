"""One rank of a tuning stage: reads the job, trains, and leaves the reason where it cannot.

Exit codes are those of pretraining: 0 finished, or stopped when asked to (then the log folder holds `interrupted`);
2 the settings, data or checkpoint were refused; 3 the training diverged; 1 anything else. For 1-3 `failure.json` says why.
"""

import argparse
import os
import sys
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from model.stop import StopRequest
from store.process import die_with_parent


def run_rank(prog: str, job_class: str, train: str) -> None:
    """The whole life of the process: `job_class` and `train` are `module:name`, imported once signals are caught."""
    die_with_parent()
    code = main(prog, job_class, train)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # gloo's threads may abort an interpreter that ends in order


def main(prog: str, job_class: str, train: str, arguments: list[str] | None = None) -> int:
    """Run the job on this rank; returns the exit code."""
    parser = argparse.ArgumentParser(prog=f"python -m {prog}", description="one rank of a tuning stage")
    parser.add_argument("--job", type=Path, required=True, help=f"JSON of {job_class}")
    job_file = parser.parse_args(arguments).job
    stop = StopRequest()

    from data.documents import CorpusError
    from model.checkpoint import CheckpointMismatch
    from model.run_log import Diverged, RunLog
    from model.tuning_config import TuningRefused

    job = _load(job_class).model_validate_json(job_file.read_text())
    log = RunLog(job.logs, int(os.environ["RANK"]))
    try:
        _load(train)(job, log, stop)
    except (TuningRefused, CheckpointMismatch, CorpusError) as error:
        log.fail("refused", str(error))
        return _say(str(error), 2)
    except Diverged as error:
        log.fail("diverged", str(error))
        return _say(str(error), 3)
    except Exception as error:  # the last frame of the process: leave the reason, then end as the error would
        log.fail("error", f"{type(error).__name__}: {error}")
        return _say(traceback.format_exc(), 1)
    return 0


def _load(place: str) -> Callable:
    module, name = place.split(":")
    return getattr(import_module(module), name)


def _say(message: str, code: int) -> int:
    print(f"rank {os.environ['RANK']}: {message}", file=sys.stderr, flush=True)
    return code
