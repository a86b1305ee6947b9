"""Programs to run from the repository's root: `python -m launch.train --help`."""

import os
import signal
import sys

SIGNALS = signal.SIGINT, signal.SIGTERM


def stopped_by(number: int) -> tuple[str, int]:
    """What a program says that a signal ended, and its exit status, as shells have it."""
    return f"stopped by {'Ctrl-C' if number == signal.SIGINT else 'SIGTERM'}", 128 + number


def _stop_importing(number: int, frame) -> None:
    message, status = stopped_by(number)
    os.write(2, f"{message}\n".encode())
    os._exit(status)


# Imports take seconds, in which there is nothing to clear away. As a program, not as a library.
_NAME = os.path.basename(sys.argv[0]) if sys.argv else ""
if _NAME == "-m" or _NAME.startswith("haemsa-"):
    for _number in SIGNALS:
        signal.signal(_number, _stop_importing)
