"""`siamedge calibrate`: the crops that a tracker sees in videos, as a set that `siamedge export` takes."""

from pathlib import Path
from typing import Annotated

import typer

from siamedge.cli.libraries import export_libraries
from siamedge.runtime.places import check_file, room_for

WEIGHTS = (".pth", ".pt", ".safetensors")


def calibrate(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="[CHECKPOINT] SOURCE...",
            help="Weights (.pth or .safetensors; none: the default's), then videos, folders of images or of videos.",
        ),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="SET.npz to write.")],
    arch: Annotated[str | None, typer.Option(help="Architecture; default: recognised from the tensors.")] = None,
    count: Annotated[int, typer.Option(min=1, help="Search crops to keep.")] = 150,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Choose them at random by this seed; default: evenly.")
    ] = None,
) -> None:
    """Roll a tracker out on videos and keep the crops that it really sees, for int8."""
    with export_libraries("calibrate"):
        from siamedge.export.calibration.rollout import collect_crops
        from siamedge.export.checkpoints.reading import default_weights, load_network
        from siamedge.export.families.torch_session import one_torch_thread

    has_checkpoint = sources[0].endswith(WEIGHTS)
    videos = sources[1:] if has_checkpoint else sources
    if not videos:
        raise typer.BadParameter("no video or folder given", param_hint="'SOURCE'")
    if out.suffix != ".npz":
        raise typer.BadParameter(f"{out.name}: the set's name must end in .npz", param_hint="'--out'")
    check_file(out, "--out")
    with one_torch_thread():
        network = load_network(Path(sources[0]) if has_checkpoint else default_weights(), arch)
        crops = collect_crops(network, videos, count, seed)
    with room_for(out, "--out"):
        crops.save(out)
    targets = len(set(crops.target_of_search.tolist()))
    typer.echo(f"wrote {out}: {len(crops.searches)} search crops of {targets} targets, sha256 {crops.sha256[:16]}")
