"""Which pages a block list leaves out, whatever way their address is written."""

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.documents import CorpusError
from data.url_blocklist import ADDRESS, DOMAIN, WORD, WORDS, UrlBlocklistConfig, blocked_addresses, host_name


def written(folder, **lists):
    for name, text in lists.items():
        (folder / name).write_text(text, encoding="utf-8")
    return UrlBlocklistConfig(**{name: str(folder / name) for name in lists})


def blocked(urls, config):
    return blocked_addresses(pa.array(urls), config)


@pytest.mark.parametrize(
    "url",
    [
        "http://people.org",
        "https://www.People.org/name",
        "HTTPS://a.b.people.org:8443/x?y#z",
        "http://user:pa@ss@people.org/",
        "//people.org./x",
        "people.org/x",
        "http://other.org@people.org/",
        "http:\\\\people.org\\x",
        "http://people.org\\@other.org/",
        "http://p%65ople.org/",
        "http://people．org/",
        "http://bücher.example/a",
        "http://xn--bcher-kva.example/a",
        "http://shop.BÜCHER.example",
        "http://203.0.113.7:80/x",
        "http://[2001:db8::1]:80/",
    ],
)
def test_a_listed_domain_covers_every_spelling_and_what_lies_below(tmp_path, url):
    config = written(tmp_path, domains="# sites\npeople.org  # note\n\n*.bücher.example\nhttp://203.0.113.7/\n[2001:db8::1]\n")
    assert blocked([url], config) == [DOMAIN]


@pytest.mark.parametrize(
    "url",
    ["http://notpeople.org/", "http://people.org.evil.net/", "http://x.net/people.org", "http://people.org@x.net/", "", None],
)
def test_other_hosts_stay(tmp_path, url):
    assert blocked([url], written(tmp_path, domains="people.org")) == [None]


def test_a_site_called_www_does_not_stand_for_its_whole_top_level_domain(tmp_path):
    assert blocked(["http://x.com", "http://a.www.com", "www.com"], written(tmp_path, domains="www.com")) == [
        None,
        DOMAIN,
        DOMAIN,
    ]


def test_whole_addresses_are_compared_as_pages(tmp_path):
    config = written(tmp_path, urls="https://site.org/private/\n")
    urls = [
        "http://www.site.org/private#top",
        "http://site.org/private?utm_source=x",
        "http://site.org/private/2",
        "http://site.org/",
    ]
    assert blocked(urls, config) == [ADDRESS, ADDRESS, None, None]


def test_words_stand_alone_and_soft_ones_need_company(tmp_path):
    config = written(tmp_path, words="casino\n", soft_words="poker\nbet\nbonus\n")
    urls = [
        "http://x.org/Best-CASINO_tips",
        "http://casinos.org",
        "http://poker.org/a",
        "http://poker.org/bet%2Dbonus",
        "http://bet.org/bet",
    ]
    assert blocked(urls, config) == [WORD, None, None, WORDS, None]


def test_a_list_that_has_changed_is_read_again(tmp_path):
    config = written(tmp_path, domains="a.org")
    assert blocked(["http://a.org", "http://b.org"], config) == [DOMAIN, None]
    assert blocked(["http://a.org", "http://b.org"], written(tmp_path, domains="b.org")) == [None, DOMAIN]


def test_the_first_rule_counts_and_no_list_drops_nothing(tmp_path):
    config = written(tmp_path, domains="x.org", words="casino")
    assert blocked(["http://x.org/casino", "http://y.org/casino"], config) == [DOMAIN, WORD]
    assert blocked(["http://x.org/casino"], UrlBlocklistConfig()) == [None] and blocked([], config) == []


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [("domains", b"", "no entry"), ("urls", b"\xff\xfe\x00", "cannot be read"), ("words", b"two words", "no single word")],
)
def test_a_list_that_cannot_be_used_is_named(tmp_path, name, content, said):
    (tmp_path / "list").write_bytes(content)
    with pytest.raises(CorpusError, match=f"list: .*{said}"):
        blocked(["http://x.org"], UrlBlocklistConfig(**{name: str(tmp_path / "list")}))
    with pytest.raises(CorpusError, match="none"):
        blocked(["http://x.org"], UrlBlocklistConfig(**{name: str(tmp_path / "none")}))


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40))
def test_no_address_breaks_the_reading_of_its_host(text):
    host = host_name(text)
    assert host == host.lower() and host_name(f"http://{text}") is not None
    assert blocked([text], UrlBlocklistConfig()) == [None]
