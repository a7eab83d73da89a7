"""What is masked and what is spared; the replacement depends on the address alone."""

import ipaddress
import time

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.pii import ADDRESSES, EMAILS, PHONES, PiiConfig, mask, mask_texts

CONFIG = PiiConfig(enabled=True)


@pytest.mark.parametrize(
    "address",
    ["anna.smith@mail.org", "o'brien+x@sub.host.co.uk", "jürgen@müller.de", "a@b.io", "x_1%y@xn--bcher-kva.xn--p1ai", "A@B.CO"],
)
def test_an_email_address_becomes_an_example(address):
    masked, counts = mask_texts(pa.array([f"Write to <{address}>, or mailto:{address}."]), CONFIG)
    assert address not in masked[0] and masked[0].count("@example.") == 2
    assert masked[0].startswith("Write to <") and masked[0].endswith(".") and counts == {EMAILS: 2}


@pytest.mark.parametrize(
    "text",
    [
        "name@example.com and x@sub.example.org",
        "git@github.com:user/project",
        "icon@2x.png",
        "lodash@4.17.21",
        "a @ b.com",
        "@user.name",
        "C = A@B",
        "user@localhost",
    ],
)
def test_what_only_looks_like_an_email_address_stays(text):
    assert mask(text, CONFIG) == text


@pytest.mark.parametrize("address", ["8.8.8.8", "185.199.108.153", "2607:f8b0:4004:c07::66", "2a00:1450:4001:81b::200e"])
@pytest.mark.parametrize("frame", ["from {} today", "http://{}/", "[{}]", "{}, and", "ends in {}."])
def test_a_public_address_becomes_one_reserved_for_documentation(address, frame):
    masked = mask("Seen " + frame.format(address), CONFIG)
    before, after = frame.split("{}")
    inner = masked.removeprefix("Seen " + before).removesuffix(after)
    assert inner != address and not ipaddress.ip_address(inner).is_global


@pytest.mark.parametrize(
    "text",
    [
        "10.0.0.1 192.168.1.20 127.0.0.1 172.16.0.9 169.254.1.1 0.0.0.0 255.255.255.255",
        "fe80::1 ::1 fd00::42 2001:db8::7",
        "version 1.2.3.4, v5.6.7.8 and Chrome/41.0.2.1; firmware: 8.9.10.11",
        "section 3.1.4.1 and § 4.4.4.4",
        "1.2.3.4 Methods\n  2.1.1.1 Samples",
        "8.8.8.8.8 1.2.3 999.1.1.1 08.08.08.08 nginx-8.8.8.8 8.8.8.8-beta",
        "at 12:34:56 from 00:1a:2b:3c:4d:5e, std::vector, face::dead, 2020:01:02 10:11:12",
    ],
)
def test_private_addresses_versions_and_headings_stay(text):
    assert mask(text, CONFIG) == text


@pytest.mark.parametrize(
    "number",
    [
        "+49 30 901820",
        "+1 (212) 736-5000",
        "+442079460018",
        "(212) 736-5000",
        "212-736-5000",
        "212.736.5000",
        "1-800-736-5000",
        "020 7946 0018",
        "(030) 90182000",
        "01 23 45 67 89",
        "030/9018200",
    ],
)
def test_a_phone_number_becomes_a_made_up_one(number):
    masked, counts = mask_texts(pa.array([f"Ask {number} for more."]), CONFIG)
    assert number not in masked[0] and "555" in masked[0] and masked[0].endswith(" for more.") and counts == {PHONES: 1}


@pytest.mark.parametrize("text", ["Tel. 7365000", "phone: 736 5000 22", "Fax: 30 901-820", "call us at 7365000"])
def test_a_label_makes_a_number_a_phone_number(text):
    assert mask(text, CONFIG) != text and "555" in mask(text, CONFIG)


@pytest.mark.parametrize(
    "text",
    [
        "2024-01-15 15.01.2024 01/02/2024 01-02-2024 12 apples, 2024 01 15",
        "ISBN 0-306-40615-2, ISBN-13: 978-0-306-40615-7, ISSN 0317-8471 and 978-3-16-148410-0",
        "version 2.10.0.1234, build 0123.4567.8901",
        "$212.736.5000 or 1,234,567,890 or 3.14159265358979",
        "05 10 15 20 25 30 35",
        "Fibonacci: 1 2 3 5 8 13 21 34 55 89 144",
        "order 4111 1111 1111 1111, serial 20240115123456, 1700000000",
        "pages 123-145, 1990-1999, 2019-2020 and 0.00012345678",
        "phone: 2024-01-15",
        "MA 01760-2098 and from -2147483648 to +2147483647",
        "10.1234/5678.9012-3456",
    ],
)
def test_dates_isbns_and_other_numbers_stay(text):
    assert mask(text, CONFIG) == text


def test_the_same_address_becomes_the_same_everywhere_and_others_differ():
    first = mask("x anna@mail.org y", CONFIG).split()[1]
    assert mask("then Anna@mail.org", CONFIG).split()[1] == first
    assert len({mask(f"n{i}@mail.org", CONFIG) for i in range(30)}) == 3
    assert len({mask(f"from 8.8.{i}.8", CONFIG) for i in range(30)}) > 20


def test_each_kind_can_be_left_alone_and_nulls_are_nulls():
    text = "a@b.io 8.8.8.8 212-736-5000"
    masked, counts = mask_texts(pa.array([text, None]), CONFIG)
    assert masked[1] is None and counts == {EMAILS: 1, ADDRESSES: 1, PHONES: 1}
    assert mask(text, PiiConfig(emails=False, ip_addresses=False, phone_numbers=False)) == text
    assert mask(text, PiiConfig(emails=False, phone_numbers=False)).split()[::2] == text.split()[::2]


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.sampled_from("a@.io-+()0123589 :/é\n"), max_size=60))
def test_masking_twice_changes_nothing_more(text):
    once = mask(text, CONFIG)
    assert mask(once, CONFIG) == once


def test_hostile_text_takes_no_longer_than_its_length():
    began = time.process_time()
    for text in (
        "a" * 400_000,
        "1" * 400_000,
        "@" * 100_000,
        "a." * 200_000 + "@",
        "1.1" * 100_000,
        "+1 " * 100_000,
        "2001:" * 80_000,
    ):
        mask(text, CONFIG)
    assert time.process_time() - began < 5
