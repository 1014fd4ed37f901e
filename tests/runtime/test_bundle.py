"""A bundle opens only when every byte of it is what its manifest says, and nothing outside it is ever read."""

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from bundles import FILES, entries, make_manifest

from siamedge.export.bundles.packing import write_bundle, write_folder, write_zip
from siamedge.runtime.bundles.bundle import Bundle, check_path
from siamedge.runtime.bundles.manifest import FileEntry
from siamedge.runtime.bundles.records import to_json
from siamedge.runtime.errors import BundleError

SEARCH = "models/onnx-fp32/search.onnx"
AGAIN = "export the bundle again, or copy it again"
MAKE = "make one with `siamedge export`, or copy it again"


@pytest.fixture(params=["tiny.siamedge", "tiny.siamedge.zip"])
def bundle(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / request.param
    write_bundle(path, make_manifest(), FILES)
    return path


def rewrite(bundle: Path, change: Callable[[dict[str, bytes]], object]) -> None:
    """Change a bundle's files as somebody with an editor or a bad card would."""
    contents = {**FILES, "manifest.json": to_json(make_manifest()).encode()}
    change(contents)
    shutil.rmtree(bundle) if bundle.is_dir() else bundle.unlink()
    (write_zip if bundle.suffix == ".zip" else write_folder)(bundle, contents)


def refusal(bundle: Path) -> tuple[str, str]:
    with pytest.raises(BundleError) as caught:
        Bundle.open(bundle)
    return str(caught.value), caught.value.hint


def with_manifest(edit: Callable[[dict], object]) -> Callable[[dict[str, bytes]], object]:
    def change(contents: dict[str, bytes]) -> None:
        tree = json.loads(contents["manifest.json"])
        edit(tree)
        contents["manifest.json"] = json.dumps(tree).encode()

    return change


def test_an_opened_bundle_gives_its_models(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    model = opened.load(opened.find("search", "openvino", "fp16"))
    assert opened.manifest == make_manifest()
    assert (model.name, model.precision) == ("models/openvino-fp16/search.xml", "fp16")
    assert model.content == FILES["models/openvino-fp16/search.xml"]
    assert model.weights == FILES["models/openvino-fp16/search.bin"]
    assert opened.load(opened.find("search", "onnx", "fp32")).weights == b""


def test_a_model_that_is_not_there_is_told_with_those_that_are(bundle: Path) -> None:
    with pytest.raises(BundleError) as caught:
        Bundle.open(bundle).find("search", "tflite", "int8")
    assert str(caught.value) == (f"{bundle.name} holds no tflite-int8 search model; it holds onnx-fp32, openvino-fp16")
    assert caught.value.hint == "export it with --formats tflite --precisions int8"


def test_a_flipped_bit_is_told_with_both_hashes(bundle: Path) -> None:
    rewrite(bundle, lambda files: files.update({SEARCH: b"S" + FILES[SEARCH][1:]}))
    message, hint = refusal(bundle)
    wanted = entries(SEARCH)[0].sha256[:12]
    found = message.removeprefix(f"{SEARCH}: sha256 is ").removesuffix(f", the manifest says {wanted}")
    assert len(found) == 12
    assert found != wanted
    assert hint == AGAIN


def test_every_single_flipped_byte_of_a_stored_zip_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "tiny.zip"
    write_bundle(path, make_manifest(), FILES)
    whole, models = path.read_bytes(), set(FILES.items())
    harmless = 0
    for position in range(0, len(whole), 37):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x10]) + whole[position + 1 :])
        try:
            opened = Bundle.open(path)
        except BundleError:
            continue
        # Time stamps and attributes of the zip format itself may differ; what is in it may not.
        harmless += 1
        assert opened.manifest == make_manifest()
        assert all((entry.path, FILES[entry.path]) in models for entry in opened.manifest.files)
    assert harmless < len(whole) / 37 / 2


def test_a_shortened_file_is_told_with_both_sizes(bundle: Path) -> None:
    rewrite(bundle, lambda files: files.update({SEARCH: FILES[SEARCH][:-5]}))
    assert refusal(bundle) == (f"{SEARCH}: 415 bytes, the manifest says 420", AGAIN)


def test_a_missing_file_is_named(bundle: Path) -> None:
    rewrite(bundle, lambda files: files.pop(SEARCH))
    assert refusal(bundle) == (f"{bundle.name}: {SEARCH} is missing", AGAIN)


@pytest.mark.parametrize(
    "path", ["../outside", "models/../../outside", "/etc/hostname", "models\\x", "C:/x", "c:x", "", ".", "a\0b", "a\nb"]
)
def test_a_path_that_leaves_the_bundle_is_refused_before_it_is_read(bundle: Path, path: str) -> None:
    def leave(tree: dict) -> None:
        tree["artifacts"][1]["files"][0]["path"] = path

    rewrite(bundle, with_manifest(leave))
    assert refusal(bundle) == (f"manifest.json names {path!r}, which is outside the bundle", "do not use this bundle")


def test_paths_inside_are_accepted() -> None:
    for path in ("a", "models/onnx-fp32/search.onnx", "a..b/..c", "modèle"):
        check_path(path)


def test_a_link_that_leaves_the_bundle_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tiny.siamedge"
    write_bundle(path, make_manifest(), FILES)
    (tmp_path / "outside").write_bytes(FILES[SEARCH])
    (path / SEARCH).unlink()
    (path / SEARCH).symlink_to(tmp_path / "outside")
    assert refusal(path) == (f"tiny.siamedge: {SEARCH} is a link that leaves the bundle", "do not use this bundle")


def of_search(key: str, change: Callable[[list], object]) -> Callable[[dict], object]:
    """Change the inputs or outputs of the first search graph."""
    return lambda tree: change(next(found for found in tree["artifacts"] if found["role"] == "search")[key])


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (lambda tree: tree["tracker"]["params"].update(lr=50.0), "tracker.params.lr: expected 0 to 1, found 50"),
        (
            lambda tree: tree["tracker"]["params"].update(stride=0),
            "tracker.params.stride: expected 1 to 8192, found 0",
        ),
        (
            lambda tree: tree["tracker"]["params"].update(template_px=33),
            "the onnx-fp32 template model has no input for crops of 33 px, those of tracker.params.template_px",
        ),
        (
            lambda tree: tree["tracker"]["params"].update(response_size=7),
            "the onnx-fp32 search model gives 64 values as 'cls', expected 49 of 49 cells",
        ),
        (
            lambda tree: tree["tracker"]["params"].update(score="softmax"),
            "the onnx-fp32 search model gives 64 values as 'cls', expected 128 of 64 cells",
        ),
        (
            of_search("outputs", lambda outputs: outputs[0].update(name="klass")),
            "the onnx-fp32 search model has no output 'cls', which its tracker reads",
        ),
        (
            lambda tree: tree["tracker"].update(family="siamfc", params={"template_px": 32, "search_px": 64}),
            "the onnx-fp32 search model has no output 'response', which its tracker reads",
        ),
        (
            lambda tree: tree.update(recommended={"tflite": {"precision": "fp32", "reason": ""}}),
            "there is no tflite-fp32 search model, which is verified or recommended",
        ),
        (
            lambda tree: tree["verification"][0]["differences"].pop("cls"),
            "the verification of onnx-fp32 says nothing of 'cls'",
        ),
        (
            lambda tree: tree.update(name="\ud800"),
            "name: expected a text that can be printed, found \"'\\\\ud800'\"",
        ),
    ],
)
def test_a_manifest_that_no_tracker_can_work_with_is_told(
    bundle: Path, edit: Callable[[dict], object], told: str
) -> None:
    rewrite(bundle, with_manifest(edit))
    assert refusal(bundle) == (f"{bundle.name}: manifest.json: {told}", AGAIN)


@pytest.mark.parametrize("schema", [0, 2, 99])
def test_another_schema_is_told_with_both_numbers(bundle: Path, schema: int) -> None:
    rewrite(bundle, with_manifest(lambda tree: tree.update(schema=schema, brand_new_key=1)))
    assert refusal(bundle) == (
        f"{bundle.name}: manifest.json has schema {schema}, this siamedge reads 1",
        "update siamedge here, or export again with this version",
    )


def test_an_unknown_key_is_named(bundle: Path) -> None:
    rewrite(bundle, with_manifest(lambda tree: tree["tracker"]["params"].update(lrr=0.3)))
    assert refusal(bundle) == (f"{bundle.name}: manifest.json: tracker.params: unknown key 'lrr'", AGAIN)


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"null", b"\x00", b"{" * 5000, b"[" * 200_000])
def test_a_manifest_that_is_none_is_refused(bundle: Path, content: bytes) -> None:
    rewrite(bundle, lambda files: files.update({"manifest.json": content}))
    assert refusal(bundle) == (f"{bundle.name}: manifest.json is not a siamedge manifest", AGAIN)


def test_a_model_without_its_files_is_refused(bundle: Path) -> None:
    rewrite(bundle, with_manifest(lambda tree: tree["artifacts"][2].update(files=tree["artifacts"][2]["files"][:1])))
    assert refusal(bundle) == ("manifest.json: the openvino-fp16 template model has 1 files, expected 2", AGAIN)


def test_a_huge_manifest_is_not_read(bundle: Path) -> None:
    rewrite(bundle, lambda files: files.update({"manifest.json": b" " * 5_000_000}))
    assert refusal(bundle) == ("manifest.json: 5000000 bytes, at most 4000000 are read", AGAIN)


def test_a_zip_member_larger_than_promised_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "tiny.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in FILES.items():
            archive.writestr(name, bytes(10_000_000) if name == SEARCH else content)
        archive.writestr("manifest.json", to_json(make_manifest()))
    assert path.stat().st_size < 20_000
    assert refusal(path) == (f"{SEARCH}: 10000000 bytes, the manifest says 420", AGAIN)


def test_a_compressed_zip_opens_too_and_its_damage_is_told(tmp_path: Path) -> None:
    path = tmp_path / "tiny.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in (*FILES.items(), ("manifest.json", to_json(make_manifest()).encode())):
            archive.writestr(name, content)
    assert Bundle.open(path).manifest == make_manifest()
    whole = bytearray(path.read_bytes())
    start = whole.index(b"models/onnx-fp32/search.onnx") + len(SEARCH)
    whole[start : start + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(whole)
    message, _ = refusal(path)
    assert message.startswith(f"tiny.zip: {SEARCH} is damaged (")


def test_a_zip_whose_names_are_damaged_is_told(tmp_path: Path) -> None:
    path = tmp_path / "tiny.zip"
    write_bundle(path, make_manifest(), FILES)
    content = bytearray(path.read_bytes())
    directory = content.rfind(b"PK\x01\x02")
    content[directory + 8 : directory + 10] = (0x800).to_bytes(2, "little")  # its name is UTF-8
    content[directory + 46] = 0xFF
    path.write_bytes(content)
    message, hint = refusal(path)
    assert message.startswith("tiny.zip: manifest.json is damaged")
    assert hint == AGAIN


def test_what_is_no_bundle_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("hello")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("readme", "hello")
    whole = tmp_path / "whole.zip"
    write_bundle(whole, make_manifest(), FILES)
    (tmp_path / "half.zip").write_bytes(whole.read_bytes()[:-100])
    no_zip = "not a bundle (neither a folder nor a whole zip file)"
    assert refusal(tmp_path / "none") == (f"{tmp_path / 'none'}: no such bundle", MAKE)
    assert refusal(tmp_path / "empty") == (f"{tmp_path / 'empty'}: not a bundle (it has no manifest.json)", MAKE)
    assert refusal(tmp_path / "other.zip") == (
        f"{tmp_path / 'other.zip'}: not a bundle (it has no manifest.json)", MAKE
    )  # fmt: skip
    assert refusal(tmp_path / "text") == (f"{tmp_path / 'text'}: {no_zip}", MAKE)
    assert refusal(tmp_path / "half.zip") == (f"{tmp_path / 'half.zip'}: {no_zip}", MAKE)


def test_a_file_that_changes_after_opening_is_noticed_when_it_is_loaded(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    rewrite(bundle, lambda files: files.update({SEARCH: b"S" + FILES[SEARCH][1:]}))
    with pytest.raises(BundleError, match="sha256 is"):
        opened.load(opened.find("search", "onnx", "fp32"))


def test_a_damaged_file_is_noticed_when_it_is_loaded_if_not_all_were_read_before(bundle: Path) -> None:
    rewrite(bundle, lambda files: files.update({SEARCH: b"S" + FILES[SEARCH][1:]}))
    opened = Bundle.open(bundle, is_whole=False)
    opened.load(opened.find("template", "onnx", "fp32"))
    with pytest.raises(BundleError, match="sha256 is"):
        opened.load(opened.find("search", "onnx", "fp32"))


def test_documents_are_verified_as_models_are(tmp_path: Path) -> None:
    licence = FileEntry("LICENSE", 3, "0" * 64)
    path = tmp_path / "tiny.siamedge"
    write_bundle(path, make_manifest()._replace(documents=(licence,)), {**FILES, "LICENSE": b"yes"})
    message, _ = refusal(path)
    assert message.startswith("LICENSE: sha256 is ")
