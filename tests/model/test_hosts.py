"""Training on two hosts: as on one; a host that is lost is said to be, and costs no more than the steps since the checkpoint."""

import os
import signal
import threading
from pathlib import Path

import pytest

from flows.local_server import free_port
from model.run_log import read_metrics
from store.process import process_tree
from tasks.hosts import read_hosts
from tasks.launcher import Watch, launch_ranks
from tasks.recipe import Resources
from tasks.stage import StageFailed, Transient
from tests.model.test_pretrain import assert_same_run, wait_for


def test_a_hostfile_is_read_or_its_line_named(tmp_path):
    file = tmp_path / "hosts"
    file.write_text("# two\nnode-1 slots=4\n\nnode-2 slots=4  # the new one\n")
    assert [(host.name, host.slots) for host in read_hosts(file, 1)] == [("node-1", 4), ("node-2", 4)]
    file.write_text("node-1\n")
    assert read_hosts(file, 8)[0].slots == 8
    for text, reason in [
        ("", "no host"),
        ("a slots=x", "line 1: expected"),
        ("a\na", "line 2: a stands there twice"),
        ("a slots=1\nb slots=2", "as many slots"),
        ("-oProxyCommand=x", "line 1: expected"),
    ]:
        file.write_text(text)
        with pytest.raises(StageFailed, match=reason):
            read_hosts(file, 1)
    with pytest.raises(StageFailed, match="cannot be read"):
        read_hosts(tmp_path / "none", 1)


@pytest.mark.launch
def test_a_lost_host_ends_the_stage_which_goes_on_when_it_is_back(two_rank_run, make_job, tmp_path):
    (tmp_path / "hosts").write_text("127.0.0.1\n127.0.0.2\n")
    shell = tmp_path / "shell"  # as ssh does: a session of its own for the command, on the host that it is told
    shell.write_text('#!/bin/sh\necho $$ > "$(dirname "$0")/$1.pid"\nexec sh -c "$2"\n')
    shell.chmod(0o755)
    resources = Resources(hostfile=str(tmp_path / "hosts"), remote_shell=str(shell), port=free_port(), grace_seconds=20)
    job, told, failed = make_job(tmp_path), [], []
    watch = Watch(tmp_path / "logs", told.append, lambda *beat: None)

    def launch():
        try:
            launch_ranks("model.pretrain_rank", job, resources, tmp_path / "ranks.log", watch)
        except Transient as error:
            failed.append(str(error))

    running = threading.Thread(target=launch)
    running.start()
    wait_for(lambda: (tmp_path / "state/step-000008").exists())
    second = int((tmp_path / "127.0.0.2.pid").read_text())
    for pid in process_tree(second):
        os.kill(pid, signal.SIGKILL)  # the power goes
    running.join(timeout=60)
    assert "a training rank was killed" in failed[0] and str(tmp_path / "ranks.log") in failed[0]
    assert not any(Path(f"/proc/{pid}").exists() and Path(f"/proc/{pid}/cmdline").read_bytes() for pid in told)
    assert 8 <= read_metrics(tmp_path / "logs")[-1]["step"] < 40

    launch()
    assert len(failed) == 1
    assert_same_run(tmp_path, two_rank_run)
