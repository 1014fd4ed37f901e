"""Sources: what they deliver, and the line that each unusable one gets."""

import os
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from file_server import serving

from siamedge.runtime.errors import SourceError
from siamedge.runtime.sources.cameras import to_bgr
from siamedge.runtime.sources.length import Length, is_clearly_shorter
from siamedge.runtime.sources.source import Frame, SourceOptions, kind_of_source, open_source, without_password


def write_video(path: Path, frames: int, fps: float = 10.0, codec: str = "MJPG") -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), fps, (64, 48))
    for k in range(frames):
        writer.write(np.full((48, 64, 3), 10 * k % 256, np.uint8))
    writer.release()


def read(address: str, **options: object) -> list[Frame]:
    with open_source(address, SourceOptions(**options)) as source:  # type: ignore[arg-type]
        return list(source)


def message_of(address: str) -> str:
    with pytest.raises(SourceError) as caught:
        read(address)
    return str(caught.value)


def test_video_gives_its_frames_in_order_with_their_times(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.avi", 7)
    frames = read(str(tmp_path / "clip.avi"))
    assert [f.index for f in frames] == list(range(7))
    assert [f.time_s for f in frames] == pytest.approx([k / 10 for k in range(7)])
    assert [float(f.image.mean()) for f in frames] == pytest.approx([10 * k for k in range(7)], abs=1.5)
    assert frames[0].image.shape == (48, 64, 3)
    assert frames[0].captured_s is None


def test_file_scheme_and_frame_rate(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.avi", 2, fps=25)
    with open_source(f"file://{tmp_path}/clip.avi") as source:
        assert source.fps == 25


def test_paced_video_takes_as_long_as_it_lasts(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.avi", 4, fps=20)
    start = time.monotonic()
    read(str(tmp_path / "clip.avi"), is_paced=True)
    assert time.monotonic() - start >= 3 / 20


def test_images_come_in_natural_order_and_any_pixel_format_becomes_bgr(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "frame10.png"), np.full((4, 6, 3), 30, np.uint8))
    cv2.imwrite(str(tmp_path / "frame9.png"), np.full((5, 6), 20, np.uint8))
    cv2.imwrite(str(tmp_path / "frame1.png"), np.full((4, 6), 10 * 256 + 200, np.uint16))
    cv2.imwrite(str(tmp_path / "frame11.bmp"), np.full((4, 6, 3), 40, np.uint8))
    cv2.imwrite(str(tmp_path / "frame12.webp"), np.full((4, 6, 3), 50, np.uint8), [cv2.IMWRITE_WEBP_QUALITY, 101])
    (tmp_path / "notes.txt").write_text("not an image")
    frames = read(str(tmp_path), fps=10)
    assert [f.image.shape for f in frames] == [(4, 6, 3), (5, 6, 3), (4, 6, 3), (4, 6, 3), (4, 6, 3)]
    assert [int(f.image[0, 0, 1]) for f in frames] == [10, 20, 30, 40, 50]
    assert [f.time_s for f in frames] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    assert all(f.image.dtype == np.uint8 for f in frames)


def test_folder_of_a_data_set_is_its_img_folder(tmp_path: Path) -> None:
    (tmp_path / "img").mkdir()
    (tmp_path / "groundtruth.txt").write_text("1,1,2,2\n")
    cv2.imwrite(str(tmp_path / "img" / "00000001.jpg"), np.zeros((4, 6, 3), np.uint8))
    assert len(read(str(tmp_path))) == 1


def test_each_unusable_file_gets_its_line(tmp_path: Path) -> None:
    (tmp_path / "zero.mp4").touch()
    (tmp_path / "garbage.mp4").write_bytes(bytes(range(256)) * 40)
    (tmp_path / "photo.jpg").write_bytes(b"x")
    write_video(tmp_path / "none.avi", 0)
    assert message_of(f"{tmp_path}/no.mp4") == f"no such file or folder: {tmp_path}/no.mp4"
    assert message_of(f"{tmp_path}/zero.mp4") == f"{tmp_path}/zero.mp4: the file is empty (0 bytes)"
    assert message_of(f"{tmp_path}/garbage.mp4") == f"{tmp_path}/garbage.mp4: not a video that OpenCV can read"
    assert message_of(f"{tmp_path}/photo.jpg") == f"{tmp_path}/photo.jpg: one image is no video"
    assert message_of("ftp://host/clip") == "unknown kind of source 'ftp'"


def test_video_without_frames_gets_its_line(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.avi", 1)
    content = (tmp_path / "clip.avi").read_bytes()
    head = content.index(b"movi") + 4
    (tmp_path / "cut.avi").write_bytes(content[:head])
    assert message_of(f"{tmp_path}/cut.avi") in (
        f"{tmp_path}/cut.avi: the video has no frames",
        f"{tmp_path}/cut.avi: not a video that OpenCV can read",
    )


def read_as_far_as_it_goes(address: str) -> tuple[int, str]:
    """How many frames came, and the line of the error that ended them."""
    came: list[int] = []
    with open_source(address) as source, pytest.raises(SourceError) as caught:
        came.extend(frame.index for frame in source)
    return len(came), str(caught.value)


def test_a_recording_that_ends_before_its_time_gives_its_frames_and_then_a_line(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.avi", 40)
    write_video(tmp_path / "clip.mp4", 40, codec="mp4v")
    content = (tmp_path / "clip.avi").read_bytes()
    (tmp_path / "cut.avi").write_bytes(content[: content.index(b"movi") + (len(content) - content.index(b"movi")) // 2])
    film = bytearray((tmp_path / "clip.mp4").read_bytes())
    start, stop = film.index(b"mdat") + 4, film.index(b"moov") - 4
    film[start + (stop - start) // 4 : stop] = bytes(stop - start - (stop - start) // 4)
    (tmp_path / "zeros.mp4").write_bytes(film)
    for name in ("cut.avi", "zeros.mp4"):
        frames, line = read_as_far_as_it_goes(f"{tmp_path}/{name}")
        assert 5 < frames < 25, name
        assert line == f"{tmp_path}/{name}: stopped after {frames} of 40 frames: is it damaged or cut off?"


def test_a_download_that_breaks_gives_its_frames_and_then_a_line(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.avi", 40)
    content = (tmp_path / "clip.avi").read_bytes()
    with serving(content, "clip.avi") as file:
        file.has_range = False
        assert len(read(file.url)) == 40
        file.cut_after = content.index(b"movi") + (len(content) - content.index(b"movi")) // 2
        frames, line = read_as_far_as_it_goes(file.url)
    assert 5 < frames < 25
    assert line == f"{file.url}: stopped after {frames} of 40 frames: is it damaged or cut off?"


@pytest.mark.parametrize("stated", [0, 43, 2**31 - 1])
def test_a_header_that_states_no_length_or_nearly_the_right_one_is_no_error(tmp_path: Path, stated: int) -> None:
    write_video(tmp_path / "clip.avi", 40)
    content = bytearray((tmp_path / "clip.avi").read_bytes())
    for place in (content.index(b"avih") + 24, content.index(b"strh") + 40):
        assert content[place : place + 4] == (40).to_bytes(4, "little")
        content[place : place + 4] = stated.to_bytes(4, "little")
    (tmp_path / "clip.avi").write_bytes(content)
    assert len(read(f"{tmp_path}/clip.avi")) == 40


def test_a_film_that_was_trimmed_without_encoding_is_whole(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.mp4", 40, codec="mp4v")
    content = bytearray((tmp_path / "clip.mp4").read_bytes())
    for name, place in ((b"mvhd", 20), (b"elst", 12)):
        played = content.index(name) + place
        assert content[played : played + 4] == (4000).to_bytes(4, "big")
        content[played : played + 4] = (2000).to_bytes(4, "big")
    (tmp_path / "clip.mp4").write_bytes(content)
    with open_source(f"{tmp_path}/clip.mp4") as source:
        assert len(list(source)) < 25


def test_only_what_lacks_frames_and_seconds_is_short() -> None:
    varying, stated = Length(100, 15.5), Length(471, 15.7)
    assert not is_clearly_shorter(varying, stated)
    assert not is_clearly_shorter(Length(270, 9.0), Length(300, 10.0))
    assert is_clearly_shorter(Length(269, 8.9), Length(300, 10.0))
    assert is_clearly_shorter(Length(107_600, 3587.0), Length(108_000, 3600.0))


def test_folder_without_images_and_unreadable_image_name_the_file(tmp_path: Path) -> None:
    assert message_of(str(tmp_path)) == f"{tmp_path}: no images in this folder (.bmp .jpeg .jpg .png .webp)"
    for k in range(3):
        cv2.imwrite(str(tmp_path / f"{k}.png"), np.zeros((4, 6, 3), np.uint8))
    (tmp_path / "1.png").write_bytes(b"garbage")
    assert message_of(str(tmp_path)) == f"{tmp_path}/1.png: unreadable image, number 2 of 3"


def test_images_that_are_links_to_nothing_are_named_and_folders_are_no_images(tmp_path: Path) -> None:
    for k in (1, 3):
        cv2.imwrite(str(tmp_path / f"{k}.png"), np.zeros((4, 6, 3), np.uint8))
    (tmp_path / "x.png").mkdir()
    assert len(read(str(tmp_path))) == 2
    (tmp_path / "2.png").symlink_to("nowhere.png")
    line = f"{tmp_path}/2.png: unreadable image, number 2 of 3 (No such file or directory)"
    assert message_of(str(tmp_path)) == line


def test_what_stands_behind_a_jpeg_does_not_matter_and_a_cut_one_is_unreadable(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
    thumbnail, whole = (cv2.imencode(".jpg", image)[1].tobytes() for image in (pixels[:8, :8], pixels))
    exif = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    photo = whole[:2] + exif + whole[2:]
    for content in (whole, photo, photo + b"a film: \xff\xda\0\x08"):
        (tmp_path / "1.jpg").write_bytes(content)
        assert read(str(tmp_path))[0].image.shape == (60, 80, 3)
    for content in (whole[:-2], photo[: len(photo) - 300], photo[: 2 + len(exif)]):
        (tmp_path / "1.jpg").write_bytes(content)
        assert message_of(str(tmp_path)) == f"{tmp_path}/1.jpg: unreadable image, number 1 of 1"


def test_files_and_pipes_under_dev_are_no_cameras(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.avi", 3)
    with (tmp_path / "clip.avi").open("rb") as file:
        assert len(read(f"/dev/fd/{file.fileno()}")) == 3
    receiver, sender = os.pipe()
    os.mkfifo(tmp_path / "pipe.ts")
    for pipe in (f"/dev/fd/{receiver}", f"{tmp_path}/pipe.ts"):
        assert message_of(pipe) == f"{pipe}: a pipe or a device is no video file"
    os.close(receiver)
    os.close(sender)
    assert message_of("/dev/shm/none.mp4") == "no such file or folder: /dev/shm/none.mp4"


def test_each_unusable_camera_gets_its_line(tmp_path: Path) -> None:
    assert message_of("97") == "camera /dev/video97: no such device"
    assert message_of("/dev/v4l/by-id/none") == "camera /dev/v4l/by-id/none: no such device"
    assert message_of("/dev/null") == "camera /dev/null: cannot be opened as a camera"


def test_stream_that_refuses_gets_a_line_without_its_password() -> None:
    with pytest.raises(SourceError) as caught:
        read("http://user:secret@127.0.0.1:9/", open_timeout_s=1)
    assert str(caught.value) == "http://***@127.0.0.1:9/: Connection refused"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtsp://127.0.0.1/a@b", "rtsp://127.0.0.1/a@b"),
        ("http://[::1]:80/a@b", "http://[::1]:80/a@b"),
        ("http://camera:80?mail=a@b", "http://camera:80?mail=a@b"),
        ("rtsp://user:secret@camera/a@b", "rtsp://***@camera/a@b"),
        ("rtsp://user:se@cr@et@camera/x", "rtsp://***@camera/x"),
        ("http://user:sec/ret@camera/x", "http://***@camera/x"),
        ("http://user:3#sec?ret@camera/x", "http://***@camera/x"),
        ("http://user:secret@[::1]:80/", "http://***@[::1]:80/"),
    ],
)
def test_a_password_is_never_shown(address: str, shown: str) -> None:
    assert without_password(address) == shown


@pytest.mark.parametrize("host", ["127.0.0.1:99999", "[::1", "user:sec/ret@127.0.0.1:9"])
def test_an_address_whose_host_or_port_is_none_gets_its_line(host: str) -> None:
    address = f"http://{host}/x"
    assert message_of(address) == f"{without_password(address)}: its host or its port is none"


def test_grey_and_16_bit_camera_pictures_become_bgr() -> None:
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    for picture in (grey, grey[..., None], grey.astype(np.uint16) << 8, np.dstack([grey] * 4)):
        assert np.array_equal(to_bgr(picture), np.dstack([grey] * 3))


def test_kinds_follow_the_address(tmp_path: Path) -> None:
    kinds = {"0": "camera", "/dev/video0": "camera", "rtsp://h/x": "stream", "synthetic:": "synthetic"}
    assert {address: kind_of_source(address) for address in kinds} == kinds
    assert kind_of_source(str(tmp_path)) == "folder"
    assert kind_of_source("RTSP://h/x") == "stream"


def test_a_file_whose_name_looks_like_an_address_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rec-12:30:00.avi").touch()
    assert kind_of_source("rec-12:30:00.avi") == "file"
    with pytest.raises(SourceError, match="unknown kind of source 'rec-13'"):
        kind_of_source("rec-13:30:00.avi")
    with pytest.raises(SourceError, match="no such file or folder"):
        kind_of_source(300 * "x")


def test_opencv_stays_silent_on_bad_input(tmp_path: Path) -> None:
    (tmp_path / "garbage.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 40)
    write_video(tmp_path / "clip.avi", 3)
    content = (tmp_path / "clip.avi").read_bytes()
    (tmp_path / "cut.avi").write_bytes(content[: len(content) * 2 // 3])
    (tmp_path / "img").mkdir()
    good = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8))[1].tobytes()
    (tmp_path / "img" / "1.jpg").write_bytes(good[: len(good) // 2])
    script = (
        "import sys\nfrom siamedge.runtime.sources.source import open_source\n"
        "from siamedge.runtime.errors import SourceError\n"
        "for address in sys.argv[1:]:\n"
        "    try:\n        list(open_source(address))\n"
        "    except SourceError:\n        pass\n"
    )
    addresses = [str(tmp_path / name) for name in ("garbage.mp4", "cut.avi", "img")]
    run = subprocess.run(
        [sys.executable, "-c", script, *addresses, "/dev/null", "http://127.0.0.1:9/"], capture_output=True, check=True
    )
    assert (run.stdout, run.stderr) == (b"", b"")
