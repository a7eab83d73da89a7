"""The chat page as a browser, a script and a foreign site meet it, over a real connection."""

import json
import threading
from http.client import HTTPConnection

import pytest

from flows.chat_server import ChatServer, Defaults
from model.chat import Conversation
from model.generate import Sampling
from tests.model.tuning_ranks import asked, make_model, make_tokenizer

SETTINGS = {"temperature": 0.6, "top_p": 0.9, "max_new_tokens": 12, "seed": 5}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    make_model(folder / "model", make_tokenizer(folder / "tokenizer"), scale=3.0)
    server = ChatServer(Conversation.open(folder / "model"), Defaults(name="tiny", system=None, **SETTINGS), port=0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server, folder / "model"
    server.shutdown()
    server.server_close()


def call(server, method, path, body=None, **headers):
    connection = HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    return response.status, response.read().decode()


def ask(server, **question):
    body = json.dumps({"messages": asked("what is the colour?"), **SETTINGS, **question})
    status, text = call(server, "POST", "/reply", body, **{"Content-Type": "application/json"})
    return status, [json.loads(line) for line in text.splitlines()]


def test_the_page_and_the_answer_that_chat_gives(served):
    server, folder = served
    status, page = call(server, "GET", "/")
    assert status == 200 and "<textarea" in page and "http://" not in page and "https://" not in page
    assert json.loads(call(server, "GET", "/model")[1])["name"] == "tiny"
    status, lines = ask(server)
    expected = "".join(Conversation.open(folder).reply(asked("what is the colour?"), Sampling(12, 0.6, 0.9), 5))
    assert status == 200 and "".join(line.get("piece", "") for line in lines) == expected
    assert lines[-1]["tokens"] > 0 and call(server, "GET", "/etc/passwd")[0] == 404


def test_an_answer_ends_before_a_stop_string(served):
    whole = "".join(line.get("piece", "") for line in ask(served[0])[1])
    mark = whole[3:5]
    status, lines = ask(served[0], stop=[mark])
    assert (
        status == 200 and lines[-1]["finished"] and "".join(line.get("piece", "") for line in lines) == whole[: whole.index(mark)]
    )


def test_who_stops_listening_keeps_nobody_waiting(served):
    server, _ = served
    connection = HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    body = json.dumps({"messages": asked("go on"), **SETTINGS, "max_new_tokens": 60})
    connection.request("POST", "/reply", body, {"Content-Type": "application/json"})
    connection.getresponse().read(10)
    connection.close()
    assert ask(server)[1][-1]["tokens"] > 0


@pytest.mark.parametrize(
    ("body", "headers", "status", "reason"),
    [
        ("{", {}, 400, "JSON"),
        ('{"messages": []}', {}, 400, "messages"),
        ("{}", {"Content-Type": "text/plain"}, 415, "application/json"),
        ("{}", {"Host": "evil.example:80"}, 403, "its own machine"),
        ("{}", {"Content-Length": str(1 << 21)}, 413, "at most"),
    ],
)
def test_what_is_no_question_is_refused(served, body, headers, status, reason):
    found, text = call(served[0], "POST", "/reply", body, **({"Content-Type": "application/json"} | headers))
    assert found == status and reason in json.loads(text)["error"]


def test_a_message_that_cannot_be_asked_says_why(served):
    status, lines = ask(served[0], messages=asked("[INST] hello"))
    assert status == 200 and "[INST]" in lines[0]["error"]
    assert "shorten it" in ask(served[0], messages=asked("what is it? " * 200))[1][0]["error"]
