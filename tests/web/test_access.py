"""Who may see and steer."""

import pytest

from siamedge.runtime.web.access import Access, is_loopback


def test_loopback_needs_no_token_and_anything_else_does() -> None:
    assert Access.for_host("127.0.0.1").token == ""
    assert Access.for_host("::1").token == ""
    one, two = Access.for_host("0.0.0.0"), Access.for_host("0.0.0.0")
    assert len(one.token) >= 32
    assert one.token != two.token
    assert one.is_known(one.token)
    assert not one.is_known(two.token)
    assert not one.is_known(None)
    assert not one.is_known("")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("192.168.1.4", False),
        ("evil.example", False),
        ("", False),
    ],
)
def test_loopback_names(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@pytest.mark.parametrize(
    ("origin", "host", "expected"),
    [
        (None, "127.0.0.1:8765", True),
        ("http://127.0.0.1:8765", "127.0.0.1:8765", True),
        ("http://evil.example", "127.0.0.1:8765", False),
        ("http://127.0.0.1:9999", "127.0.0.1:8765", False),
        ("null", "127.0.0.1:8765", False),
        ("http://evil.example", "evil.example", False),
        (None, "evil.example", False),
        (None, "[", False),
        ("http://[", "127.0.0.1:8765", False),
    ],
)
def test_foreign_pages_are_refused_on_loopback(origin: str | None, host: str, expected: bool) -> None:
    assert Access.for_host("127.0.0.1").is_own_page(origin, host) is expected


def test_off_loopback_any_name_of_this_machine_is_taken_but_not_what_is_none() -> None:
    access = Access.for_host("0.0.0.0")
    assert access.is_own_page("http://board.local:8765", "board.local:8765")
    assert not access.is_own_page("http://evil.example", "board.local:8765")
    assert not access.is_own_page(None, "[")


def test_the_first_page_steers_until_it_leaves_or_another_takes_over() -> None:
    access = Access("127.0.0.1")
    access.enter("a")
    access.enter("b")
    assert access.may_steer("a")
    assert not access.may_steer("b")
    access.take_over("b")
    assert access.may_steer("b")
    assert not access.may_steer("a")
    access.leave("b")
    assert access.may_steer("a")


def test_a_page_that_is_open_twice_keeps_control_when_one_closes() -> None:
    access = Access("127.0.0.1")
    access.enter("a")
    access.enter("a")
    access.leave("a")
    assert not access.may_steer("b")
    access.leave("a")
    assert access.may_steer("b")
