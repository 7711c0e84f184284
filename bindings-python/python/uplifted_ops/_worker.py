"""How this interpreter is started again as a worker."""

import os
import sys

from . import _native

#: Loads the native module by its path and becomes a worker. Nothing else is imported: neither the service's folder
#: nor site-packages are on the way, so a ``logging.py`` of the service changes nothing.
LOADER = (
    "import sys;from importlib.machinery import ExtensionFileLoader as L,ModuleSpec as S;p=sys.argv[1];"
    "l=L('_native',p);m=l.create_module(S('_native',l,origin=p));l.exec_module(m);m.run_worker(sys.argv[2:])"
)


def command() -> list[str]:
    """The program and arguments of the worker.

    Raises ``LookupError`` with the reason where there is none: in a frozen application, or when the native
    module is no file.
    """
    if getattr(sys, "frozen", False):
        raise LookupError("this is a frozen application: its program is no Python that could be the worker")
    path = getattr(_native, "__file__", None)
    if not path or not os.path.isfile(path):
        raise LookupError("the native module of uplifted-ops is no file of its own here, so no worker can load it")
    # -I and -S: no environment, no working directory, no site-packages with their .pth files.
    return [_interpreter(), "-I", "-S", "-c", LOADER, os.path.abspath(path)]


def _interpreter() -> str:
    """This Python's program. In a server that embeds Python, ``sys.executable`` may be the server."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    beside = [os.path.join(prefix, "bin", f"python{version}") for prefix in (sys.exec_prefix, sys.base_exec_prefix)]
    for program in (sys.executable, *beside):
        if program and os.path.basename(program).startswith("python") and os.access(program, os.X_OK):
            return program
    raise LookupError(f"the program of this Python was not found: sys.executable is {sys.executable!r}")
