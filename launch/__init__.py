"""Programs to run from the repository's root: `python -m launch.train --help`."""

import importlib.util
import os
import signal
import sys
from pathlib import Path

SIGNALS = signal.SIGINT, signal.SIGTERM


def stopped_by(number: int) -> tuple[str, int]:
    """What a program says that a signal ended, and its exit status, as shells have it."""
    return f"stopped by {'Ctrl-C' if number == signal.SIGINT else 'SIGTERM'}", 128 + number


def _stop_importing(number: int, frame) -> None:
    message, status = stopped_by(number)
    os.write(2, f"{message}\n".encode())
    os._exit(status)


# A stream that was closed leads nowhere: else a file would get its number, and all that is said.
for _stream, _mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
    if getattr(sys, _stream) is None:
        setattr(sys, _stream, open(os.devnull, _mode))  # noqa: SIM115

# Imports take seconds, in which there is nothing to clear away. As a program, not as a library.
_NAME = os.path.basename(sys.argv[0]) if sys.argv else ""
if _NAME == "-m" or _NAME.startswith("haemsa-"):
    for _number in SIGNALS:
        signal.signal(_number, _stop_importing)


def _prefer_library() -> None:
    """Makes `haemsa_datasets` the library's, whatever folder of that name is first on the path."""
    home = Path(__file__).resolve().parents[1]
    roots = (home / "datasets", home)
    roots = tuple(root for root in roots if (root / _DATASETS / "catalog.py").is_file())
    spec = importlib.util.find_spec(_DATASETS)
    places = [] if spec is None else map(Path, spec.submodule_search_locations or ())
    if roots and not any((place / "catalog.py").is_file() for place in places):
        sys.path.insert(0, str(roots[0]))
        importlib.invalidate_caches()


_DATASETS = "haemsa_datasets"
_prefer_library()
