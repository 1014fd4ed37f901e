"""Send every box to an MQTT broker, with last will and Home Assistant's discovery."""

import json
import re
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from siamedge.runtime.errors import SourceError
from siamedge.runtime.loop import Step, as_json_line

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
        shown = re.sub(r"//[^/@]*@", "//***@", address)
        raise SourceError(f"--mqtt {shown}: not mqtt://HOST[:PORT][/TOPIC]", hint=hint)
    is_encrypted = parts.scheme == "mqtts"
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    return Broker(parts.hostname, port or (8883 if is_encrypted else 1883), topic, user, password, is_encrypted)


class MqttOutput:
    """A connection that outlives the broker's absences: boxes wait and are sent in order when it is back.

    At least once (QoS 1): after a broken connection a box may come twice. Leaving the context waits up to five
    seconds for what is under way.

    Attributes:
        left_out: Boxes that did not fit into the queue.
    """

    def __init__(self, broker: Broker, name: str = "siamedge") -> None:
        self.left_out = 0
        self._broker, self._name = broker, name
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
        self._client.on_connect = self._greet
        self._last: paho.MQTTMessageInfo | None = None

    def __enter__(self) -> "MqttOutput":
        """Connect.

        Raises:
            SourceError: The broker does not answer or refuses.
        """
        where = f"mqtt broker {self._broker.host}:{self._broker.port}"
        try:
            self._client.connect(self._broker.host, self._broker.port, keepalive=15)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise SourceError(f"{where}: {reason}", hint="is it running, is the port right?") from error
        self._client.loop_start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(ValueError, RuntimeError):
            if self._last:
                self._last.wait_for_publish(GOODBYE_TIMEOUT_S)
            self._client.publish(self._topic("availability"), "offline", qos=1, retain=True).wait_for_publish(1.0)
        self._client.disconnect()
        self._client.loop_stop()

    def send(self, step: Step) -> None:
        """Queue the JSON line of a frame; never waits for the broker."""
        sent = self._client.publish(self._topic("box"), as_json_line(step), qos=1)
        if sent.rc == paho.MQTT_ERR_QUEUE_SIZE:
            self.left_out += 1
        else:
            self._last = sent

    def _topic(self, name: str) -> str:
        return f"{self._broker.topic}/{name}"

    def _greet(self, client: paho.Client, *_: object) -> None:
        """After each connection: say that we are here, and what there is for Home Assistant."""
        client.publish(self._topic("availability"), "online", qos=1, retain=True)
        for kind, key, config in discovery(self._broker.topic, self._name):
            client.publish(f"{DISCOVERY}/{kind}/{key}/config", json.dumps(config), qos=1, retain=True)


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
