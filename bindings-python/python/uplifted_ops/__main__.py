"""``python -m uplifted_ops``: the command line."""

import sys

from . import _native, _worker


def main() -> int:
    """Runs the command line with this process's arguments; returns its exit status."""
    arguments = ["uplifted-ops", *sys.argv[1:]]
    try:
        worker = _worker.command()
    except LookupError:
        # Then this very program: it becomes a worker when it is asked to.
        worker = [sys.executable, "-m", "uplifted_ops"]
    return _native.run_cli(arguments, worker)


if __name__ == "__main__":
    sys.exit(main())
