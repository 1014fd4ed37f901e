"""The camera inside the machine: shows clip.raw on /dev/video0 by vivid's loop, frame by frame up to a wanted one.

machine_camera.py FOLDER; the wanted frame is the number in /run/camera/goto, the shown one is in /run/camera/at.
"""

import subprocess
import sys
import time
from pathlib import Path

FRAME_BYTES = 640 * 480 * 3
STEP_S = 0.25
STATE = Path("/run/camera")
SETUP = (
    ("--device=/dev/video0", "--set-ctrl=loop_video=1,osd_text_mode=2"),
    ("--device=/dev/video0", "--set-dv-bt-timings=index=0"),
    ("--device=/dev/video1", "--set-dv-bt-timings=index=0"),
    ("--device=/dev/video0", "--set-fmt-video=width=640,height=480,pixelformat=BGR3"),
    ("--device=/dev/video1", "--set-fmt-video-out=width=640,height=480,pixelformat=BGR3"),
)


def main(folder: Path) -> None:
    for words in SETUP:
        subprocess.run(["v4l2-ctl", *words], check=True)
    STATE.mkdir(exist_ok=True)
    clip = (folder / "clip.raw").open("rb")
    player = ["v4l2-ctl", "--device=/dev/video1", "--stream-out-mmap=2", "--stream-from=-"]
    camera = subprocess.Popen(player, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert camera.stdin is not None
    shown = 0
    while True:
        clip.seek(shown * FRAME_BYTES)
        camera.stdin.write(clip.read(FRAME_BYTES))
        camera.stdin.flush()
        (STATE / "at.part").write_text(str(shown))
        (STATE / "at.part").replace(STATE / "at")
        time.sleep(STEP_S)
        goto = STATE / "goto"
        wanted = int(goto.read_text() or 0) if goto.exists() else 0
        shown += (wanted > shown) - (wanted < shown)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
