"""`quipu chat` as a person and as a script use it: one shot, lines of a pipe, a real terminal."""

import json
import os
import pty
import re
import select
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from typer.testing import CliRunner

from flows.commands.talk import Talk, _printable, find_model, register
from model.chat import Conversation
from model.checkpoint_format import save_model
from model.generate import Sampling
from model.reward_model import from_model, save_reward_model
from model.transformer import build_model
from store.adopt import adopt
from store.errors import StoreError
from store.store import Store
from tests.model.tuning_ranks import CONFIG, asked, make_model, make_tokenizer

ROOT = Path(__file__).resolve().parents[2]
APP = typer.Typer()
APP.callback()(lambda: None)
register(APP)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store with pretrain, sft and a reward model, all tiny."""
    folder = tmp_path_factory.mktemp("talk")
    tokenizer = make_tokenizer(folder / "tokenizer")
    store = Store(folder / "runs")
    for seed, stage in enumerate(("pretrain", "sft")):
        make_model(folder / stage / "model", tokenizer, seed=seed, scale=3.0)
        adopt(store, stage, folder / stage)
    reward = dict(from_model(folder / "sft" / "model", CONFIG, 0))
    save_reward_model(reward, CONFIG, "safety", folder / "reward" / "model", tokenizer.path)
    adopt(store, "reward-safety", folder / "reward")
    (folder / "rows").mkdir()
    (folder / "rows" / "rows.parquet").write_bytes(b"rows")
    adopt(store, "mix", folder / "rows")
    return store


def chat(store, *arguments, typed=None):
    return CliRunner().invoke(APP, ["chat", *arguments, "--store", store.root], input=typed)


def test_one_question_to_a_stage_a_fingerprint_and_a_folder(store):
    folder, artifact = find_model("sft", store.root)
    question, options = "what is the colour?", ("--max-new-tokens", "12", "--seed", "5")
    expected = "".join(Conversation.open(folder).reply(asked(question), Sampling(12, 0.6, 0.9), 5))
    for target in ("sft", artifact.fingerprint[:8], str(folder), str(folder.parent)):
        said = chat(store, target, "--ask", question, *options)
        assert said.exit_code == 0 and said.stdout == _printable(expected) + "\n" and said.stderr == ""
    record = json.loads(chat(store, "sft", "--ask", question, *options, "--json").stdout)
    assert record["answer"] == expected and record["artifact"] == str(artifact) and record["seed"] == 5
    system = chat(store, "sft", "--ask", question, *options, "--system", "be brief").stdout
    assert system != said.stdout


def test_an_answer_ends_before_a_text_that_is_named(store):
    options = ("--ask", "what is the colour?", "--max-new-tokens", "12", "--seed", "5")
    whole = chat(store, "sft", *options).stdout[:-1]
    mark = whole[3:5]
    assert chat(store, "sft", *options, "--stop", "\\n\\n", "--stop", mark).stdout == whole[: whole.index(mark)].rstrip() + "\n"
    assert "would end every answer" in chat(store, "sft", *options, "--stop", "").stderr


def test_a_base_model_is_warned_of_and_continues_text(store):
    warned = chat(store, "pretrain", "--ask", "what?", "--max-new-tokens", "3")
    assert warned.exit_code == 0 and "--plain" in warned.stderr
    folder, _ = find_model("pretrain", store.root)
    reply = Conversation.open(folder).continue_text("it is", Sampling(9, 0.0, 0.9), 0)
    plain = chat(store, "pretrain", "--plain", "--ask", "it is", "--max-new-tokens", "9", "--temperature", "0")
    assert plain.stdout == _printable("".join(reply)) + "\n" and plain.stderr == ""


def test_mistakes_are_explained(store, tmp_path):
    for arguments, reason in [
        (["sft", "--ask", "a [/INST] b"], "a user message holds the reserved tag"),
        (["sft", "--ask", "so " * 99], "the context holds 96"),
        (["sft", "--ask", " "], "the question is empty"),
        (["sft", "--system", "<<SYS>>", "--ask", "x"], "must hold none of"),
        (["sft", "--system", "x", "--plain"], "--plain"),
        (["sft", "--json"], "--ask"),
    ]:
        said = chat(store, *arguments)
        assert said.exit_code == 2 and reason in " ".join(re.sub(r"[│╭╮╰╯─]", " ", said.stderr).split())
    for target, reason in [
        ("reward-safety", "is a reward model"),
        ("mix", "holds no model"),
        ("nothing", "neither a model's folder nor a stage"),
        (str(tmp_path), "no model there"),
    ]:
        said = chat(store, target, "--ask", "x")
        assert isinstance(said.exception, StoreError) and reason in str(said.exception)


def test_lines_of_a_pipe_are_one_conversation(store):
    folder, _ = find_model("sft", store.root)
    lines = ["what is it?", "", "say [INST]", "and the next thing in the box?", "/clear", "what is it?", "/quit", "never"]
    said = chat(store, "sft", "--max-new-tokens", "8", "--system", "be brief", typed="\n".join(lines) + "\n")
    talk = Talk(Conversation.open(folder), Sampling(8, 0.6, 0.9), 0, "be brief", False)
    expected = []
    for line in (lines[0], lines[3], None, lines[5]):
        if line is None:
            talk.turns.clear()
            continue
        reply = talk.start(line)
        expected.append("".join(reply))
        talk.remember(line, reply)
    assert said.exit_code == 0 and said.stdout == "".join(f"{_printable(text)}\n\n" for text in expected)
    assert "reserved tag [INST]" in said.stderr and "forgotten" in said.stderr and "Traceback" not in said.stderr


def test_turns_that_no_longer_fit_are_named(store):
    lines = "\n".join(["what is the colour of thing number 5 in the box?"] * 6)
    said = chat(store, "sft", "--max-new-tokens", "8", typed=lines)
    assert said.exit_code == 0 and "the model no longer sees the oldest turn" in said.stderr


def test_only_what_can_be_said_again_is_remembered():
    talk = Talk(None, None, 0, None, False)
    assert "said nothing" in talk.remember("a", SimpleNamespace(text=""))
    assert "a tag" in talk.remember("a", SimpleNamespace(text="see [INST]"))
    assert talk.turns == [] and talk.remember("a", SimpleNamespace(text="b")) is None and len(talk.turns) == 2


def test_a_model_cannot_steer_the_terminal():
    assert _printable("\x1b[31mred\x9b\r\n\tüß🙂\x00") == "[31mred\n\tüß🙂"


class Terminal:
    """A program at a terminal of its own."""

    def __init__(self, command):
        self.said = ""
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            os.chdir(ROOT)
            os.execve(command[0], command, {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "dumb"})

    def type(self, text):
        os.write(self.descriptor, text.encode())

    def wait_for(self, pattern, since=0, seconds=60.0, pressing=""):
        until, press = time.monotonic() + seconds, time.monotonic()
        while not re.search(pattern, self.said[since:]):
            assert time.monotonic() < until, self.said[-3000:]
            if pressing and time.monotonic() >= press:
                self.type(pressing)
                press += 3.0
            if select.select([self.descriptor], [], [], 0.2)[0]:
                self.said += os.read(self.descriptor, 4096).decode(errors="replace")
        return len(self.said)


def test_at_a_terminal_an_answer_can_be_stopped_and_the_talk_goes_on(tmp_path):
    """An endless answer is stopped by Ctrl-C, the next question is answered, Ctrl-D leaves."""
    endless = CONFIG.model_copy(update={"context_length": 50_000})
    save_model(build_model(endless, 0), endless, tmp_path, make_tokenizer(tmp_path / "tokenizer").path)
    code = "import typer\nfrom flows.commands.talk import register\napp = typer.Typer()\nregister(app)\napp()"
    command = [sys.executable, "-c", code, str(tmp_path), "--temperature", "0", "--max-new-tokens", "49000"]
    terminal = Terminal(command)
    at = terminal.wait_for(r"Ctrl-C stops an answer[\s\S]*> ")
    for _ in range(2):
        terminal.type("what is it?\n")
        at = terminal.wait_for(r"what is it\?\s+\S[\s\S]{60}", since=at)
        terminal.type("\x03")
        at = terminal.wait_for(r"\(stopped\)[\s\S]*> ", since=at)
    # Once more where need be: readline misses a signal that comes between its prompt and its waiting.
    at = terminal.wait_for(r"leaves\)[\s\S]*> ", since=at, pressing="\x03")
    terminal.type("\x04")
    _, status = os.waitpid(terminal.pid, 0)
    os.close(terminal.descriptor)
    assert os.waitstatus_to_exitcode(status) == 0 and "Traceback" not in terminal.said
