"""Ports: what is taken is named, what is free is found."""

from __future__ import annotations

import os
import socket

import pytest

from raypipe.errors import PortTaken
from raypipe.local.ports import Listener, Port, any_free, free, listeners, require_free


@pytest.fixture
def taken():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield holder.getsockname()[1]


def test_a_taken_port_is_refused_with_its_holder_and_the_setting_that_moves_it(taken: int):
    with pytest.raises(PortTaken) as refused:
        require_free([Port(taken, "storage.port")], "configs/env/local.yaml")
    assert f"port {taken} is taken by" in refused.value.message
    assert f"(pid {os.getpid()})" in refused.value.message
    assert "change `storage.port` in configs/env/local.yaml" in refused.value.message
    assert (refused.value.port, refused.value.setting) == (taken, "storage.port")


def test_a_port_in_use_is_not_chosen_even_when_preferred(taken: int):
    chosen = any_free(taken)
    assert chosen != taken
    assert free(chosen)


def test_a_port_chosen_for_another_part_is_not_chosen_again():
    first = any_free(0)
    assert any_free(first) == first
    assert any_free(first, [first]) != first


def test_the_listeners_of_a_process_are_found(taken: int):
    assert (taken, "loopback") in {(f.port, f.interface) for f in listeners([os.getpid()])}
    assert listeners([]) == []


@pytest.mark.parametrize(
    ("address", "interface"),
    [
        ("127.0.0.1", "loopback"),
        ("::1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("0.0.0.0", "all interfaces"),
        ("::", "all interfaces"),
        ("192.0.2.1", "192.0.2.1"),
    ],
)
def test_the_interface_of_a_listener_is_said_in_words(address: str, interface: str):
    assert Listener(address, 1, 1, "p").interface == interface
