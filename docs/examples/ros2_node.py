"""A ROS 2 node that follows one target and publishes where it is, as vision_msgs/Detection2D.

python3 ros2_node.py --ros-args -p bundle:=dart.siamedge -p source:=/dev/video0 -p box:="[120.0, 80.0, 60.0, 40.0]"

Needs rclpy and vision_msgs (Humble or newer) and siamedge in the same Python environment:
`python3 -m venv --system-site-packages`. While the target is lost nothing is published but its state on `~/state`.
"""

import math
import time
from typing import Any, NamedTuple

from siamedge.runtime.following import follow
from siamedge.runtime.loop import Step
from siamedge.runtime.sources.source import Frame


class Detection(NamedTuple):
    """What a message says: centre and size in pixels, score 0..1, time of the frame in seconds and nanoseconds."""

    center: tuple[float, float]
    size: tuple[float, float]
    score: float
    stamp: tuple[int, int]


def detection_of(step: Step, start_s: float) -> Detection | None:
    """The message of one tracked frame; None while the target is lost.

    Args:
        step: The frame.
        start_s: Time of the source's first frame on the clock of the messages.
    """
    if step.state == "lost":
        return None
    box, (fraction, whole) = step.result.box, math.modf(start_s + step.frame.time_s)
    return Detection(tuple(box.center), (box.w, box.h), step.result.score, (int(whole), int(fraction * 1e9)))


def start_of(frame: Frame, now_s: float) -> float:
    """Time of a source's first frame on the clock of the messages.

    Args:
        frame: One of the source's that was just followed; one of a recording counts as taken now.
        now_s: The time on that clock.
    """
    age_s = 0.0 if frame.captured_s is None else time.monotonic() - frame.captured_s
    return now_s - age_s - frame.time_s


def message_of(detection: Detection, frame_id: str) -> Any:
    """The same as a ROS message."""
    from vision_msgs.msg import Detection2D, ObjectHypothesisWithPose

    message = Detection2D()
    message.header.frame_id = frame_id
    message.header.stamp.sec, message.header.stamp.nanosec = detection.stamp
    message.bbox.center.position.x, message.bbox.center.position.y = detection.center
    message.bbox.size_x, message.bbox.size_y = detection.size
    hypothesis = ObjectHypothesisWithPose()
    hypothesis.hypothesis.class_id, hypothesis.hypothesis.score = "target", detection.score
    message.results.append(hypothesis)
    return message


def main() -> None:
    """Publish until the source ends or ROS stops."""
    import rclpy
    from std_msgs.msg import String
    from vision_msgs.msg import Detection2D

    rclpy.init()
    node = rclpy.create_node("siamedge")
    names = {"bundle": "", "source": "", "box": [0.0, 0.0, 0.0, 0.0], "frame_id": "camera"}
    bundle, source, box, frame_id = (node.declare_parameter(name, default).value for name, default in names.items())
    targets = node.create_publisher(Detection2D, "~/target", 1)
    states = node.create_publisher(String, "~/state", 1)
    start_s: float | None = None
    try:
        for step in follow(bundle, source, box, reacquire="near"):
            if start_s is None:
                start_s = start_of(step.frame, node.get_clock().now().nanoseconds / 1e9)
            states.publish(String(data=step.state))
            if (detection := detection_of(step, start_s)) is not None:
                targets.publish(message_of(detection, frame_id))
            if not rclpy.ok():
                break
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
