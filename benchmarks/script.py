"""What the scripts' command lines share: checked numbers, errors in one line, and results that are written whole."""

import json
import os
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace, RawDescriptionHelpFormatter
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from this_machine import conditions

from siamedge.export.evaluation.specs import TrackerSpec
from siamedge.runtime.bundles.bundle import Bundle
from siamedge.runtime.errors import SiamedgeError
from siamedge.runtime.places import make_folder, write_whole
from siamedge.runtime.speed.tuning_record import bundle_sha256

RESULTS = Path("docs/results")


def parser(description: str | None) -> ArgumentParser:
    """A command line that shows its script's docstring as it is written."""
    return ArgumentParser(description=description, formatter_class=RawDescriptionHelpFormatter)


def at_least(least: int) -> Callable[[str], int]:
    """The type of an argument: a whole number that is not smaller."""

    def whole(text: str) -> int:
        if not text.lstrip("-").isdecimal() or int(text) < least:
            raise ArgumentTypeError(f"{text!r}, expected a whole number of at least {least}")
        return int(text)

    return whole


def core(text: str) -> int:
    """The type of an argument: the number of a processor that this process may use."""
    if text not in map(str, allowed := cores()):
        known = ", ".join(map(str, allowed)) or "none: this system does not let a process choose"
        raise ArgumentTypeError(f"{text!r} is no processor that this process may use ({known})")
    return int(text)


def cores() -> list[int]:
    """The processors that this process may use; empty where the system does not let it choose."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def add_core(found: ArgumentParser) -> None:
    """Add --core, by default the first that this process may use."""
    found.add_argument("--core", type=core, default=str(next(iter(cores()), 0)), help="the processor to run on")


def some_of(known: Iterable[str]) -> Callable[[str], list[str]]:
    """The type of an argument: names with commas between them, all of them known."""
    names = list(known)

    def chosen(text: str) -> list[str]:
        for word in (found := text.split(",")):
            if word not in names:
                raise ArgumentTypeError(f"{word!r}, expected some of {','.join(names)}")
        return found

    return chosen


def names_of(sources: Sequence[str]) -> dict[str, str]:
    """A name for each tracker of a table: that of its file, or its whole path where others are called alike."""
    short = {source: TrackerSpec(source).label for source in sources}
    times = Counter(short.values())
    return {source: name if times[name] == 1 else source for source, name in short.items()}


def write_results(out: Path, name: str, page: str, measured: object) -> None:
    """Write NAME.json and NAME.md, each whole.

    Raises:
        PlaceError: The folder cannot be made or written to.
    """
    make_folder(out, "--out")
    write_whole(out / f"{name}.json", (json.dumps(measured, indent=1, sort_keys=True) + "\n").encode())
    write_whole(out / f"{name}.md", page.encode())


def recorded(options: Namespace, bundles: Iterable[Path | str], measured: object) -> dict[str, object]:
    """Figures with what they hold for: conditions, arguments, and the hash of each bundle's manifest.

    Of files and folders the names are kept, not where they lie.
    """
    arguments = {key: value for key, value in vars(options).items() if key != "out"}
    names = names_of([str(path) for path in bundles if Path(path).exists()])
    return {
        "conditions": conditions(),
        "arguments": json.loads(json.dumps(arguments, default=lambda path: path.name)),
        "bundles": {name: bundle_sha256(Bundle.open(Path(path), is_whole=False)) for path, name in names.items()},
        "measured": measured,
    }


def run(main: Callable[[], None]) -> None:
    """Run a script: what somebody can mend ends it with one line and exit code 1, Ctrl-C with 130."""
    try:
        main()
    except SiamedgeError as error:
        sys.exit(f"{Path(sys.argv[0]).name}: {error}" + (f"\n  try: {error.hint}" if error.hint else ""))
    except KeyboardInterrupt:
        sys.exit(130)
