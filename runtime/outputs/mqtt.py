"""Send every box to an MQTT broker, with last will and Home Assistant's discovery."""

import json
import re
import threading
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from siamedge.runtime.errors import SourceError
from siamedge.runtime.loop import Step, as_json_line
from siamedge.runtime.sources.source import without_password

LONGEST_QUEUE = 10_000
"""Boxes that are kept while the broker is away, about five minutes; later ones are left out and counted."""
CONNECT_TIMEOUT_S, GOODBYE_TIMEOUT_S = 5.0, 5.0
DISCOVERY = "homeassistant"


class Broker(NamedTuple):
    """Where to send.

    Attributes:
        host: Name or address.
        port: 1883, or 8883 with TLS, when the address gives none.
        topic: The boxes go to topic/box, the state of the line to topic/availability.
        user: "" for none.
        password: "" for none.
        is_encrypted: TLS.
    """

    host: str
    port: int
    topic: str
    user: str
    password: str
    is_encrypted: bool


def parse_broker(address: str) -> Broker:
    """Read mqtt://user:password@host:port/topic; mqtts is TLS, and the topic is "siamedge" when there is none.

    Raises:
        SourceError: It is no such address.
    """
    hint = "for example mqtt://broker.local/garden or mqtts://user:password@host:8883/garden"
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError as error:
        raise SourceError(f"--mqtt: {error}", hint=hint) from error
    topic = unquote(parts.path).strip("/") or "siamedge"
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or re.search(r"[+#\0]", topic):
        raise SourceError(f"--mqtt {without_password(address)}: not mqtt://HOST[:PORT][/TOPIC]", hint=hint)
    is_encrypted = parts.scheme == "mqtts"
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    return Broker(parts.hostname, port or (8883 if is_encrypted else 1883), topic, user, password, is_encrypted)


class MqttOutput:
    """A connection that outlives the broker's absences: boxes wait and are sent in order when it is back.

    At least once (QoS 1): after a broken connection a box may come twice. Leaving the context waits up to five
    seconds for what is under way.

    Attributes:
        where: The broker, for a person.
        offered: Boxes so far.
        delivered: Those of them that the broker has confirmed.
        left_out: Those of them that did not fit into the queue.
    """

    def __init__(self, broker: Broker, name: str = "siamedge") -> None:
        self.where = f"mqtt broker {broker.host}:{broker.port}"
        self.offered = self.delivered = self.left_out = 0
        self._broker, self._name = broker, name
        self._refusal = ""
        self._answered, self._confirmed = threading.Event(), threading.Condition()
        self._announcements: set[int] = set()
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.max_queued_messages_set(LONGEST_QUEUE)
        self._client.max_inflight_messages_set(20)
        self._client.reconnect_delay_set(min_delay=1, max_delay=5)
        self._client.connect_timeout = CONNECT_TIMEOUT_S
        if broker.user:
            self._client.username_pw_set(broker.user, broker.password or None)
        if broker.is_encrypted:
            self._client.tls_set()
        self._client.will_set(self._topic("availability"), "offline", qos=1, retain=True)
        self._client.on_connect, self._client.on_disconnect = self._greet, self._note_end
        self._client.on_publish = self._count

    def __enter__(self) -> "MqttOutput":
        """Connect.

        Raises:
            SourceError: The broker does not answer or refuses.
        """
        try:
            self._client.connect(self._broker.host, self._broker.port, keepalive=15)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise SourceError(f"{self.where}: {reason}", hint="is it running, is the port right?") from error
        self._client.loop_start()
        is_answered = self._answered.wait(CONNECT_TIMEOUT_S)
        refusal = self._refusal if is_answered else f"no answer of an MQTT broker within {CONNECT_TIMEOUT_S:g} s"
        if refusal:
            self._leave()
            hint = "is the port right, are user and password? mqtt://user:password@host:port/topic"
            raise SourceError(f"{self.where}: {refusal}", hint=hint)
        return self

    def __exit__(self, *_: object) -> None:
        with self._confirmed:
            self._confirmed.wait_for(lambda: self.delivered + self.left_out >= self.offered, GOODBYE_TIMEOUT_S)
        self._client.on_publish = None
        with suppress(ValueError, RuntimeError):
            self._client.publish(self._topic("availability"), "offline", qos=1, retain=True).wait_for_publish(1.0)
        self._leave()

    def send(self, step: Step) -> None:
        """Queue the JSON line of a frame, unless the queue is full; never waits for the broker."""
        self.offered += 1
        sent = self._client.publish(self._topic("box"), as_json_line(step), qos=1)
        self.left_out += sent.rc == paho.MQTT_ERR_QUEUE_SIZE

    def _leave(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _topic(self, name: str) -> str:
        return f"{self._broker.topic}/{name}"

    # Called in paho's thread.

    def _greet(self, client: paho.Client, _data: object, _flags: object, answer: ReasonCode, _more: object) -> None:
        """After each connection: say that we are here, and what there is for Home Assistant."""
        if answer.is_failure:
            self._refusal = f"refused: {answer}"
        else:
            entries = discovery(self._broker.topic, self._name)
            topics = {f"{DISCOVERY}/{kind}/{key}/config": json.dumps(config) for kind, key, config in entries}
            for topic, text in {self._topic("availability"): "online", **topics}.items():
                sent = client.publish(topic, text, qos=1, retain=True)
                if sent.rc != paho.MQTT_ERR_QUEUE_SIZE:
                    self._announcements.add(sent.mid)
        self._answered.set()

    def _note_end(self, *_: object) -> None:
        """After each connection's end: one that comes before the broker's answer is no broker's."""
        if not self._answered.is_set():
            self._refusal = "it ends the connection without the answer of an MQTT broker"
            self._answered.set()

    def _count(self, _client: paho.Client, _data: object, number: int, *_: object) -> None:
        """Count a box that the broker has confirmed."""
        if number in self._announcements:
            self._announcements.discard(number)
            return
        with self._confirmed:
            self.delivered += 1
            self._confirmed.notify()


def discovery(topic: str, name: str) -> list[tuple[str, str, dict[str, object]]]:
    """Home Assistant's descriptions: component, unique key, configuration.

    Source: Home Assistant's documentation of MQTT discovery, sensor and binary_sensor.
    """
    base = re.sub(r"[^A-Za-z0-9_-]", "_", topic)
    shared: dict[str, object] = {
        "state_topic": f"{topic}/box",
        "availability_topic": f"{topic}/availability",
        "device": {"identifiers": [base], "name": name, "manufacturer": "siamedge"},
    }
    state = {"name": "State", "value_template": "{{ value_json.state }}", "json_attributes_topic": f"{topic}/box"}
    score = {"name": "Score", "value_template": "{{ value_json.score }}", "state_class": "measurement"}
    present = {
        "name": "Target",
        "device_class": "presence",
        "value_template": "{{ 'OFF' if value_json.state == 'lost' else 'ON' }}",
    }
    entries = (("sensor", "state", state), ("sensor", "score", score), ("binary_sensor", "present", present))
    return [(kind, f"{base}_{key}", {**shared, **own, "unique_id": f"{base}_{key}"}) for kind, key, own in entries]
