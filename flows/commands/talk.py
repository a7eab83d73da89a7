"""`quipu chat`: a conversation with any model of the store or of a folder, at a terminal, from a pipe or in one shot."""

import io
import sys
import unicodedata
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.inspect import find_artifact
from flows.commands.options import DEFAULT_STORE, AsJson, StoreRoot, open_store, print_json

if TYPE_CHECKING:
    from model.chat import Conversation, Reply
    from model.generate import Sampling
    from store.artifact import Artifact


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("chat")(chat)


def chat(
    checkpoint: Annotated[
        str, typer.Argument(metavar="CHECKPOINT", help="A stage or fingerprint of the store, or a model's folder, ours or HF's.")
    ],
    ask: Annotated[str | None, typer.Option("--ask", metavar="TEXT", help="Ask once, print the answer and leave.")] = None,
    system: Annotated[str | None, typer.Option("--system", metavar="TEXT", help="The system message of the dialogue.")] = None,
    plain: Annotated[bool, typer.Option("--plain", help="Continue the text, as a base model does, without chat format.")] = False,
    temperature: Annotated[float, typer.Option("--temperature", min=0.0, help="0 takes the most likely token.")] = 0.6,
    top_p: Annotated[float, typer.Option("--top-p", min=0.01, max=1.0, help="Draw from this much of the probability.")] = 0.9,
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens", min=1, help="Longest answer, in tokens.")] = 512,
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**32, help="The same seed draws the same answers.")] = 0,
    stop: Annotated[
        list[str] | None,
        typer.Option("--stop", metavar="TEXT", help="End an answer before this text; \\n is a new line; repeatable."),
    ] = None,
    web: Annotated[bool, typer.Option("--web", help="Serve a page to talk on, to this machine's browsers alone.")] = False,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Of the page; 0 takes a free one.")] = 8123,
    store: StoreRoot = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Talk to a model; its answers appear as they are written.

    Example: quipu chat sft --ask "What does math.gcd return?"
    """
    if web and (plain or ask is not None):
        raise typer.BadParameter("serves dialogues; leave out --ask and --plain", param_hint="--web")
    if plain and system is not None:
        raise typer.BadParameter("text that is continued has no system message; leave out --plain", param_hint="--system")
    if as_json and ask is None:
        raise typer.BadParameter("needs --ask, one question whose answer it prints", param_hint="--json")
    if ask is not None and not ask.strip():
        raise typer.BadParameter("the question is empty", param_hint="--ask")
    if any(not text for text in stop or ()):
        raise typer.BadParameter("an empty text would end every answer at once", param_hint="--stop")
    folder, artifact = find_model(checkpoint, store)
    talk = open_talk(folder, system, plain, seed, temperature, top_p, max_new_tokens)
    talk.stop = [text.replace("\\n", "\n") for text in stop or ()]
    if artifact is not None and artifact.stage == "pretrain" and not plain:
        _note(f"{artifact} is a base model, which has not learnt to answer; --plain continues your text instead")
    if web:
        _serve(talk, str(artifact or folder), port)
        return
    if ask is None:
        _converse(talk, str(artifact or folder))
        return
    reply = _ask(talk, ask, quiet=as_json)
    if as_json:
        answer = {"answer": reply.text, "tokens": len(reply.tokens), "finished": reply.finished, "seed": seed}
        print_json({"checkpoint": checkpoint, "artifact": str(artifact) if artifact else None, "question": ask, **answer})


def find_model(target: str, store: str) -> "tuple[Path, Artifact | None]":
    """The model folder that a person means, and the artifact it belongs to if it is one's. Raises StoreError."""
    from store.errors import StoreError

    given = Path(target).expanduser()
    for folder in (given, given / "model"):
        if (folder / "config.json").is_file():
            return folder, None
    try:
        artifact = find_artifact(open_store(store), target)
    except StoreError as error:
        if given.is_dir():
            raise StoreError(f"{given}: no model there (config.json, model.safetensors and tokenizer.model)") from error
        raise StoreError(f"{target} is neither a model's folder nor a stage or fingerprint of the store ({error})") from error
    return _model_folder(artifact), artifact


class Talk:
    """A conversation and what has been said in it."""

    def __init__(self, conversation: "Conversation", sampling: "Sampling", seed: int, system: str | None, plain: bool) -> None:
        self.conversation, self.sampling, self.plain = conversation, sampling, plain
        self.seed = seed
        self.opening = [] if system is None else [{"role": "system", "content": system}]
        self.turns: list[dict[str, str]] = []
        self.stop: list[str] = []

    def start(self, text: str) -> "Reply":
        """The beginning of an answer; raises ValueError for a text that cannot be asked. Every answer has its own seed."""
        if self.plain:
            reply = self.conversation.continue_text(text, self.sampling, self.seed, self.stop)
        else:
            messages = [*self.opening, *self.turns, {"role": "user", "content": text}]
            reply = self.conversation.reply(messages, self.sampling, self.seed, self.stop)
            del self.turns[: 2 * reply.left_out]
        self.seed += 1
        return reply

    def remember(self, text: str, reply: "Reply") -> str | None:
        """Take a turn into what follows; returns why it cannot be, if so."""
        from model.chat_format import RESERVED

        if self.plain:
            return None
        if not reply.text:
            return "the model said nothing; this turn is forgotten"
        if any(tag in reply.text for tag in RESERVED):
            return "the answer holds a tag of the chat format; this turn is forgotten"
        self.turns += [{"role": "user", "content": text}, {"role": "assistant", "content": reply.text}]
        return None


def open_talk(
    folder: Path, system: str | None, plain: bool, seed: int, temperature: float, top_p: float, max_new_tokens: int
) -> Talk:
    """Load the model and check the system message."""
    from model.chat_format import RESERVED

    if system is not None and any(tag in system for tag in RESERVED):
        raise typer.BadParameter(f"must hold none of {' '.join(RESERVED)}", param_hint="--system")
    import torch

    from data.documents import valid_text
    from model.chat import Conversation
    from model.generate import Sampling

    conversation = Conversation.open(folder, "cuda" if torch.cuda.is_available() else "cpu")
    sampling = Sampling(max_new_tokens, temperature, top_p)
    return Talk(conversation, sampling, seed, None if system is None else valid_text(system), plain)


def _serve(talk: Talk, name: str, port: int) -> None:
    """The chat page, until Ctrl-C."""
    from flows.chat_server import ChatServer, Defaults
    from store.errors import StoreError

    sampling, system = talk.sampling, talk.opening[0]["content"] if talk.opening else None
    length = min(sampling.max_new_tokens, talk.conversation.context)
    defaults = Defaults(
        name=name,
        system=system,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        max_new_tokens=length,
        seed=talk.seed,
        stop=talk.stop,
    )
    try:
        server = ChatServer(talk.conversation, defaults, port)
    except OSError as error:
        raise StoreError(f"--port {port}: {error.strerror}; choose another, or 0 for a free one") from None
    print(f"{name}: {server.address}  (Ctrl-C ends)", flush=True)
    with suppress(KeyboardInterrupt):
        server.serve_forever()
    server.server_close()


def _ask(talk: Talk, question: str, quiet: bool) -> "Reply":
    from data.documents import valid_text

    try:
        reply = talk.start(valid_text(question))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--ask") from error
    for piece in reply:
        if not quiet:
            print(_printable(piece), end="", flush=True)
    if not quiet:
        print()
    return reply


def _converse(talk: Talk, name: str) -> None:
    """Line after line until there are no more."""
    from data.documents import valid_text

    terminal = sys.stdin.isatty()
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")
    if terminal:
        with suppress(ImportError):
            import readline  # noqa: F401  (input() then edits lines)
        print(f"{name}: {'text to continue' if talk.plain else 'messages'}, or /clear to begin anew, /quit or Ctrl-D to leave;")
        print("Ctrl-C stops an answer.\n")
    while (line := _next_line(terminal)) is not None:
        text = valid_text(line)
        if text.strip() == "/quit":
            return
        if text.strip() == "/clear":
            talk.turns.clear()
            _note("what was said is forgotten")
        elif text.strip():
            _answer(talk, text, terminal)


def _next_line(terminal: bool) -> str | None:
    """What is typed or piped, None at the end."""
    while terminal:
        try:
            return input("> ")
        except EOFError:
            print()
            return None
        except KeyboardInterrupt:
            print()
            _note("Ctrl-D or /quit leaves")
    line = sys.stdin.readline()
    return line.rstrip("\r\n") if line else None


def _answer(talk: Talk, text: str, terminal: bool) -> None:
    try:
        reply = talk.start(text)
    except ValueError as error:
        _note(str(error))
        return
    if reply.left_out:
        turns = "the oldest turn" if reply.left_out == 1 else f"the {reply.left_out} oldest turns"
        _note(f"the context is full: the model no longer sees {turns}")
    stopped = False
    try:
        for piece in reply:
            print(_printable(piece), end="", flush=True)
    except KeyboardInterrupt:
        if not terminal:
            raise
        stopped = True
    print("\n", flush=True)
    if stopped:
        _note("stopped")
    elif not (reply.finished or talk.plain):
        _note(f"cut off after {len(reply.tokens)} tokens")
    forgotten = talk.remember(text, reply)
    if forgotten:
        _note(forgotten)


def _model_folder(artifact: "Artifact") -> Path:
    from store.errors import StoreError

    if artifact.stage.startswith("reward-"):
        raise StoreError(f"{artifact} is a reward model: it scores answers and writes none; talk to sft or to a round's model")
    declared = {entry.path for entry in artifact.manifest.files}
    for folder in ("model/", ""):
        if f"{folder}config.json" in declared:
            artifact.paths(f"{folder}*")  # a remote store's are fetched
            return artifact.path(f"{folder}config.json").parent
    raise StoreError(f"{artifact} holds no model; talk to pretrain, sft or a round's model")


def _printable(text: str) -> str:
    """Without control characters: what a model writes must not steer the terminal."""
    return "".join(char for char in text if char in "\n\t" or unicodedata.category(char) != "Cc")


def _note(text: Any) -> None:
    sys.stdout.flush()
    print(f"({text})", file=sys.stderr, flush=True)
