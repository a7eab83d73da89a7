"""HTTP responses and pages: encodings of transfer, of content and of characters."""

import gzip
import io
import zlib

import pytest
from fastwarc.stream_io import ZstdWriter
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data.html import decode, main_text, parse_response, too_costly

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


def _zstd(body):
    packed = io.BytesIO()
    writer = ZstdWriter(packed)
    writer.write(body)
    writer.close()
    return packed.getvalue()


@pytest.mark.parametrize(("pack", "name"), [(gzip.compress, b"gzip"), (zlib.compress, b"deflate"), (_zstd, b"zstd")])
def test_a_bomb_is_cut_and_said_to_be(pack, name):
    response = parse_response(_response(pack(b"a" * 10_000_000), b"Content-Encoding: " + name), 1000)
    assert (len(response.body), response.whole) == (1000, False)
    response = parse_response(_response(pack(b"a" * 1000), b"Content-Encoding: " + name), 1000)
    assert (len(response.body), response.whole) == (1000, True)


@pytest.mark.parametrize("charset", ["utf-8", "windows-1252", "iso-8859-15", "utf-16"])
@pytest.mark.parametrize("told", [True, False])
def test_characters_survive_with_and_without_the_servers_word(charset, told):
    html = PAGE.format(charset if charset != "utf-16" else "", "déjà vu, à bientôt, élève, naïve")
    assert "Où est le café ? déjà vu" in decode(html.encode(charset), charset if told else "")


TEXTS = {
    "west": "Où est le café ? Déjà vu, naïve élève, Straße, señor, smørrebrød. ",
    "central": "Příliš žluťoučký kůň úpěl ďábelské ódy. Zażółć gęślą jaźń. ",
    "cyrillic": "Съешь же ещё этих мягких французских булок, да выпей чаю. ",
    "greek": "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία. Καλημέρα κόσμε, τι κάνεις σήμερα; ",
    "hebrew": "דג סקרן שט בים מאוכזב ולפתע מצא לו חברה. ",
    "arabic": "نص حكيم له سر قاطع وذو شأن عظيم مكتوب على ثوب أخضر. ",
    "turkish": "Pijamalı hasta yağız şoföre çabucak güvendi. ",
    "baltic": "Įlinkdama fechtuotojo špaga sublykčiojusi pragręžė apvalų arbūzą. ",
    "thai": "เป็นมนุษย์สุดประเสริฐเลิศคุณค่า กว่าบรรดาฝูงสัตว์เดรัจฉาน ",
    "japanese": "いろはにほへと ちりぬるを 日本語の文章をここに書きます。漢字とカタカナも。",
    "korean": "키스의 고유조건은 입술끼리 만나야 하고 특별한 기술은 필요치 않다. ",
    "chinese": "我能吞下玻璃而不伤身体。这是一个简体中文的网页，内容丰富。",
    "taiwan": "我能吞下玻璃而不傷身體。這是一個繁體中文的網頁，內容豐富。",
}
# name on the page, Python's codec, a text, whether it can be told from the bytes alone (some differ in too few)
CHARSETS = """
windows-1252 cp1252 west yes; iso-8859-1 latin-1 west yes; iso-8859-15 iso8859-15 west yes; macintosh mac_roman west no
windows-1250 cp1250 central yes; iso-8859-2 iso8859-2 central no; iso-8859-16 iso8859-16 west yes; ibm866 cp866 cyrillic yes
windows-1251 cp1251 cyrillic yes; koi8-r koi8-r cyrillic yes; koi8-u koi8-u cyrillic yes; iso-8859-5 iso8859-5 cyrillic yes
x-mac-cyrillic mac_cyrillic cyrillic no; windows-1253 cp1253 greek yes; iso-8859-7 iso8859-7 greek yes
windows-1255 cp1255 hebrew yes; iso-8859-8 iso8859-8 hebrew yes; iso-8859-8-i iso8859-8 hebrew yes
windows-1256 cp1256 arabic yes; iso-8859-6 iso8859-6 arabic yes; windows-1254 cp1254 turkish yes; iso-8859-9 cp1254 turkish yes
iso-8859-3 iso8859-3 turkish yes; windows-1257 cp1257 baltic yes; iso-8859-13 iso8859-13 baltic yes
iso-8859-4 iso8859-4 baltic yes; iso-8859-10 iso8859-10 west yes; iso-8859-14 iso8859-14 west yes; windows-874 cp874 thai yes
tis-620 cp874 thai yes; windows-1258 cp1258 west yes; shift_jis cp932 japanese yes; euc-jp euc_jp japanese yes
iso-2022-jp iso2022_jp japanese yes; euc-kr euc_kr korean yes; ks_c_5601-1987 cp949 korean yes; gb2312 gb2312 chinese yes
gbk gbk chinese yes; gb18030 gb18030 chinese yes; hz-gb-2312 hz chinese no; big5 big5 taiwan yes; big5-hkscs big5hkscs taiwan yes
utf-8 utf-8 japanese yes; utf-16le utf-16le cyrillic yes; utf-16be utf-16be cyrillic yes; cp437 cp437 west no
cp850 cp850 west no; cp852 cp852 central no
""".replace("\n", ";").split(";")


@pytest.mark.parametrize("row", [row.split() for row in CHARSETS if row], ids=lambda row: row[0])
def test_every_legacy_charset_is_read_back(row):
    name, codec, script, seen = row
    text = TEXTS[script].encode(codec, "ignore").decode(codec) * 6
    page = "<html><head>{}<title>x</title></head><body><p>" + text + "</p></body></html>"
    assert text in decode(page.format("").encode(codec), name)
    if not name.startswith("utf-16"):
        assert text in decode(page.format(f'<meta charset="{name}">').encode(codec), "")
        named = f"<meta http-equiv='Content-Type' content='text/html; charset={name.upper()}'>"
        assert text in decode(page.format(named).encode(codec), "no-such-charset")
    if seen == "yes":
        assert text in decode(page.format("").encode(codec), "")


def test_names_stand_for_what_browsers_read_under_them():
    assert decode("①～髙".encode("cp932"), "shift_jis") == "①～髙"
    assert decode("뷁 똠방각하".encode("cp949"), "euc-kr") == "뷁 똠방각하"
    assert decode("碁銹裏".encode("cp950"), "big5") == "碁銹裏"
    assert decode("嘅咗啲".encode("big5hkscs"), "big5") == "嘅咗啲"
    assert decode(b"\x93quoted\x94", "iso-8859-1") == "“quoted”"


def test_a_broken_byte_costs_itself_and_not_the_page():
    assert decode("déjà ".encode() * 9 + b"\xff" + "été".encode(), "utf-8") == "déjà " * 9 + "�été"
    assert decode(("日本語の文章" * 9).encode()[:-1], "") == ("日本語の文章" * 9)[:-1] + "�"
    assert decode("Привет ".encode("cp1251") + b"\x98", "windows-1251") == "Привет �"


def test_bytes_that_are_utf8_are_believed_before_the_server_and_a_mark_before_all():
    assert decode("déjà vu".encode(), "iso-8859-1") == "déjà vu"
    assert decode(b'<meta charset="windows-1251">' + "déjà".encode(), "")[-4:] == "déjà"
    assert decode(b"\xef\xbb\xbfplain", "utf-16") == "plain"
    assert decode("\ufeffмир".encode("utf-16-be"), "utf-8") == "мир"
    assert decode("déjà vu, élève, café".encode("cp1252"), "utf-8") == "déjà vu, élève, café"
    assert decode(b"plain ASCII", "utf-16") == "plain ASCII"


@pytest.mark.parametrize(
    ("html", "reason"),
    [
        ("<div>" * 5000, "blocks nested deeper"),
        ("<ARTICLE>" * 5000, "blocks nested deeper"),
        ("<div>x</div>" * 5000, None),
        ("<p " + " ".join(f"a{n}=1" for n in range(9000)) + ">", "a tag with more than"),
        ("<p " + " ".join(f'a{n}="b c"' for n in range(9000)), "a tag with more than"),
        (f"<img alt='{'word ' * 9000}'>", None),
        ("<p>" + "it's a < b and so on " * 9000 + "</p>", None),
    ],
)
def test_pages_made_to_be_slow_are_known(html, reason):
    found = too_costly("<p>Before.</p>" * 99 + html + "<p>After.</p>" * 99)
    assert (found or "").startswith(reason or "") and bool(found) == bool(reason)


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
