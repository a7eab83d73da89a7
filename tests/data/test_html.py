"""HTTP responses and pages: encodings of transfer, of content and of characters."""

import gzip
import zlib

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data.html import decode, main_text, parse_response

PAGE = (
    "<html><head><title> A  title </title><meta charset='{}'></head><body><nav>Home About</nav>"
    "<article><p>Où est le café ? {}</p>"
    "<p>A second paragraph that belongs to the article.</p><script>var x = 1;</script></article></body></html>"
)


def _response(body, *headers):
    return b"\r\n".join([b"HTTP/1.1 200 OK", b"Content-Type: text/html; charset=utf-8", *headers, b"", body])


def _chunked(body, size=7):
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


@pytest.mark.parametrize(
    ("encode", "headers"),
    [
        (lambda body: body, []),
        (gzip.compress, [b"Content-Encoding: gzip"]),
        (zlib.compress, [b"Content-Encoding: deflate"]),
        (lambda body: zlib.compress(body, wbits=-15), [b"content-encoding: Deflate"]),
        (_chunked, [b"Transfer-Encoding: chunked"]),
        (lambda body: _chunked(gzip.compress(body)), [b"Transfer-Encoding: chunked", b"Content-Encoding: gzip"]),
        (lambda body: body, [b"Transfer-Encoding: chunked", b"Content-Encoding: gzip"]),  # stored decoded, headers left
    ],
)
def test_body_is_decoded_as_the_headers_say_or_left_alone(encode, headers):
    body = b"<p>page</p>" * 20
    response = parse_response(_response(encode(body), *headers), 1 << 20)
    assert (response.status, response.content_type, response.charset) == (200, "text/html", "utf-8")
    assert response.is_html
    assert response.body == body


def test_a_bomb_is_cut():
    response = parse_response(_response(gzip.compress(b"a" * 10_000_000), b"Content-Encoding: gzip"), 1000)
    assert len(response.body) == 1000


@pytest.mark.parametrize("charset", ["utf-8", "windows-1252", "iso-8859-15", "utf-16"])
@pytest.mark.parametrize("told", [True, False])
def test_characters_survive_with_and_without_the_servers_word(charset, told):
    html = PAGE.format(charset if charset != "utf-16" else "", "déjà vu, à bientôt, élève, naïve")
    assert "Où est le café ? déjà vu" in decode(html.encode(charset), charset if told else "")


def test_main_text_is_lines_without_navigation_and_scripts():
    title, text = main_text(PAGE.format("utf-8", "Ici."))
    assert title == "A title"
    assert text == "Où est le café ? Ici.\nA second paragraph that belongs to the article."


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300), st.text(max_size=10))
@example(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "x-user-defined")
@example(b"HTTP/1.1 \xb2\r\n\r\n", "\x00")
@example("<p>\ud800</p>".encode("utf-16", "surrogatepass"), "utf-16")
def test_no_bytes_raise(body, charset):
    parse_response(body, 1000)
    parse_response(_response(body, b"Content-Encoding: br"), 1000)
    main_text(decode(body, charset))
