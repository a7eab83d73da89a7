"""Spellings of one page's address."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from data.urls import host, in_domains, normalise_url, url_hash

SAME = [
    "http://example.org/A",
    "https://www.example.org/A/",
    "HTTPS://WWW.Example.ORG:443/A#top",
    "//example.org/A?utm_source=x",
    " example.org/A ",
]


def test_spellings_of_one_page_are_one():
    assert {normalise_url(url) for url in SAME} == {"example.org/A"}
    assert len({url_hash(url) for url in SAME}) == 1


@pytest.mark.parametrize(
    "url", ["http://example.org/a", "http://example.org/A?page=2", "http://sub.example.org/A", "http://example.org:8080/A"]
)
def test_other_pages_stay_other(url):
    assert normalise_url(url) != "example.org/A"


@given(st.text() | st.text(st.sampled_from("htps:/w.#?a[]@ %AÉ\n"), max_size=30))
@example("http://[bad")
@example("http://http://www.www.com//")
def test_never_raises_and_is_idempotent(url):
    assert normalise_url(normalise_url(url)) == normalise_url(url)
    url_hash(url)
    in_domains(url, {"a.w"})


def test_a_domain_holds_all_below_it():
    assert host("https://user@www.News.example.org:8080/x") == "news.example.org"
    assert in_domains("http://news.example.org/x", {"example.org"})
    assert not in_domains("http://badexample.org/x", {"example.org"})
