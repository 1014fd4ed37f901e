"""MQTT against a real mosquitto on loopback."""

import json
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("paho.mqtt.client", reason="needs the extra [mqtt]")
import paho.mqtt.client as paho

from siamedge.runtime.errors import SourceError
from siamedge.runtime.geometry import Box
from siamedge.runtime.loop import Step, Timing
from siamedge.runtime.outputs import mqtt
from siamedge.runtime.outputs.mqtt import Broker, MqttOutput, discovery, parse_broker
from siamedge.runtime.sources.source import Frame
from siamedge.runtime.tracking.trackers import TrackResult

MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
needs_broker = pytest.mark.skipif(not MOSQUITTO, reason="needs mosquitto")
PICTURE = np.zeros((4, 4, 3), np.uint8)


def step(number: int) -> Step:
    result = TrackResult(Box(number + 0.5, 2, 3, 4), 0.9, lost=False)
    return Step(Frame(PICTURE, number, number / 30), result, "present", Timing(1.5, 1.0))


def wait_for(is_met: Callable[[], bool], limit_s: float = 20.0) -> None:
    deadline_s = time.monotonic() + limit_s
    while not is_met():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


class RunningBroker:
    """mosquitto that can be stopped and started again; it keeps what it has for a client that is away."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None
        self._config = folder / "mosquitto.conf"
        self.admit("true")

    def admit(self, is_anyone: str) -> None:
        """Say who may come in at the next start: "true": anybody, "false": nobody."""
        rest = "persistence false\nuser root\n"
        self._config.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous {is_anyone}\n{rest}")

    def start(self) -> None:
        self._process = subprocess.Popen(
            [str(MOSQUITTO), "-c", str(self._config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_for(self._is_up)

    def _is_up(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 0.2).close()
        except OSError:
            return False
        return True

    def stop(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait(10)
            self._process = None


class Listener:
    """Another client: everything that it hears, by topic."""

    def __init__(self, port: int) -> None:
        self.heard: list[tuple[str, str]] = []
        self.is_ready = threading.Event()
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self._client.on_subscribe = lambda *_: self.is_ready.set()
        self._client.on_disconnect = lambda *_: self.is_ready.clear()
        self._client.on_message = lambda _client, _data, message: self.heard.append(
            (message.topic, message.payload.decode())
        )
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert self.is_ready.wait(10)

    def frames(self) -> list[int]:
        return [json.loads(payload)["frame"] for topic, payload in self.heard if topic == "garden/box"]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RunningBroker]:
    running = RunningBroker(tmp_path)
    running.start()
    yield running
    running.stop()


def address(broker: RunningBroker) -> Broker:
    return parse_broker(f"mqtt://127.0.0.1:{broker.port}/garden")


@needs_broker
def test_every_box_arrives_in_order_with_the_announcements(broker: RunningBroker) -> None:
    listener = Listener(broker.port)
    with MqttOutput(address(broker)) as output:
        for number in range(300):
            output.send(step(number))
        wait_for(lambda: len(listener.frames()) == 300)
    wait_for(lambda: ("garden/availability", "offline") in listener.heard)
    listener.close()
    assert listener.frames() == list(range(300))
    assert (output.offered, output.delivered, output.left_out) == (300, 300, 0)
    assert ("garden/availability", "online") in listener.heard
    first = next(json.loads(payload) for topic, payload in listener.heard if topic == "garden/box")
    assert first == {
        "frame": 0,
        "time_s": 0.0,
        "box": [0.5, 2.0, 3.0, 4.0],
        "score": 0.9,
        "state": "present",
        "latency_ms": 1.5,
    }
    topics = {topic for topic, _ in listener.heard if topic.startswith("homeassistant/")}
    assert topics == {f"homeassistant/{kind}/{key}/config" for kind, key, _ in discovery("garden", "siamedge")}


@needs_broker
def test_a_restarted_broker_gets_what_was_sent_meanwhile(broker: RunningBroker) -> None:
    listener = Listener(broker.port)
    with MqttOutput(address(broker)) as output:
        for number in range(50):
            output.send(step(number))
        wait_for(lambda: len(set(listener.frames())) == 50)
        broker.stop()
        wait_for(lambda: not listener.is_ready.is_set())
        # The publisher must have noticed too; it tries again after a second, the listener after one as well.
        broker.start()
        assert listener.is_ready.wait(15)
        for number in range(50, 100):
            output.send(step(number))
        wait_for(lambda: len(set(listener.frames())) == 100)
    listener.close()
    heard = listener.frames()
    assert sorted(set(heard)) == list(range(100))
    assert [n for k, n in enumerate(heard) if n not in heard[:k]] == list(range(100)), "first arrivals are in order"


@needs_broker
def test_a_process_that_dies_leaves_its_will(broker: RunningBroker) -> None:
    listener = Listener(broker.port)
    output = MqttOutput(address(broker)).__enter__()
    wait_for(lambda: ("garden/availability", "online") in listener.heard)
    sock = output._client.socket()
    assert sock is not None
    output._client.loop_stop()
    sock.shutdown(socket.SHUT_RDWR)
    wait_for(lambda: ("garden/availability", "offline") in listener.heard)
    listener.close()


def test_a_broker_that_is_not_there_is_an_error() -> None:
    with (
        pytest.raises(SourceError, match=r"^mqtt broker 127\.0\.0\.1:9: Connection refused$"),
        MqttOutput(parse_broker("mqtt://127.0.0.1:9")),
    ):
        pass


@needs_broker
@pytest.mark.parametrize("user", ["", "somebody:wrong@"])
def test_a_broker_that_lets_nobody_in_is_an_error(broker: RunningBroker, user: str) -> None:
    broker.stop()
    broker.admit("false")
    broker.start()
    line = rf"^mqtt broker 127\.0\.0\.1:{broker.port}: refused: Not authorized$"
    with pytest.raises(SourceError, match=line), MqttOutput(parse_broker(f"mqtt://{user}127.0.0.1:{broker.port}")):
        pass


@pytest.mark.parametrize(
    ("is_mute", "line"),
    [
        (True, r"no answer of an MQTT broker within 0\.3 s$"),
        (False, r"it ends the connection without the answer of an MQTT broker$"),
    ],
)
def test_what_is_no_broker_is_an_error(monkeypatch: pytest.MonkeyPatch, is_mute: bool, line: str) -> None:
    monkeypatch.setattr(mqtt, "CONNECT_TIMEOUT_S", 0.3 if is_mute else 20.0)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        hanging_up = threading.Thread(target=hang_up, args=(listening,))
        if not is_mute:
            hanging_up.start()
        with pytest.raises(SourceError, match=line), MqttOutput(parse_broker(f"mqtt://127.0.0.1:{port}")):
            pass
        if not is_mute:
            hanging_up.join(5)


def hang_up(listening: socket.socket) -> None:
    listening.accept()[0].close()


@needs_broker
def test_boxes_that_a_broker_did_not_get_are_counted(broker: RunningBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt, "GOODBYE_TIMEOUT_S", 0.2)
    monkeypatch.setattr(mqtt, "LONGEST_QUEUE", 100)
    with MqttOutput(address(broker)) as output:
        output.send(step(0))
        wait_for(lambda: output.delivered == 1)
        broker.stop()
        for number in range(1, 151):
            output.send(step(number))
    assert (output.offered, output.delivered, output.left_out) == (151, 1, 50)


def test_addresses() -> None:
    assert parse_broker("mqtt://h") == Broker("h", 1883, "siamedge", "", "", False)
    assert parse_broker("mqtts://u:p%40w@h/a/b") == Broker("h", 8883, "a/b", "u", "p@w", True)
    assert parse_broker("mqtt://h:99/x") == Broker("h", 99, "x", "", "", False)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("http://h", "--mqtt http://h: not mqtt://HOST[:PORT][/TOPIC]"),
        ("mqtt://u:secret@/x", "--mqtt mqtt://***@/x: not mqtt://HOST[:PORT][/TOPIC]"),
        ("mqtt://h/a%23b", "--mqtt mqtt://h/a%23b: not mqtt://HOST[:PORT][/TOPIC]"),
        ("mqtt://h:port", "--mqtt: Port could not be cast to integer value as 'port'"),
    ],
)
def test_bad_addresses_are_named(text: str, line: str) -> None:
    with pytest.raises(SourceError, match=f"^{re.escape(line)}$"):
        parse_broker(text)
