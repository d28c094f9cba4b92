"""Processes of Python that are forked off the tests, rather than started: torch is there already.

What a test of several processes is about is seldom how Python starts, which with torch takes
longer than all else. These processes have their own memory, modules of the user, files, signals
and end, as those that are started have; their commands are what `subprocess` takes.
"""

from __future__ import annotations

import faulthandler
import gc
import logging
import os
import runpy
import signal
import subprocess
import sys
import threading
import traceback
import types
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import nrcscan

_PACKAGE = str(Path(nrcscan.__file__).parent)
_STANDARD = str(Path(os.__file__).parent)
_FORGOTTEN: list[object] = []


class Forked(subprocess.Popen[Any]):
    """Stands for `subprocess.Popen`: forks where a command runs this Python, with -m or -c."""

    def __init__(self, args: Sequence[str], **options: Any) -> None:
        if args[0] == sys.executable and not options.get("shell"):
            given: Callable[[], object] | None = options.pop("preexec_fn", None)
            environment, keep = options.get("env"), tuple(options.get("pass_fds", ()))

            def run() -> None:
                if given is not None:
                    given()
                _be_python([*args[1:]], environment, keep)

            options["preexec_fn"] = run  # it never comes to what would follow, the start of Python
        gc.freeze()  # what is there now is not taken apart where the threads it has are missing
        try:
            super().__init__(args, **options)
        finally:
            gc.unfreeze()


def _be_python(args: list[str], environment: Mapping[str, str] | None, keep: Iterable[int]) -> None:
    """Run a command line of Python in this process, and end it."""
    code = 1
    try:
        gc.freeze()
        _close_all_but({0, 1, 2, *keep})
        if environment is not None:
            environment = dict(environment)
            os.environ.clear()
            os.environ.update(environment)
        _handle_signals()
        _open_streams()
        _forget_the_tests()
        _run(args)
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            for thread in threading.enumerate():
                if thread is not threading.current_thread() and not thread.daemon:
                    thread.join()
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)


def _close_all_but(keep: set[int]) -> None:
    for entry in Path("/dev/fd").iterdir():
        if int(entry.name) not in keep:
            with suppress(OSError):  # the list itself was open
                os.close(int(entry.name))


def _handle_signals() -> None:
    """Handle signals as Python does from its start."""
    faulthandler.disable()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _open_streams() -> None:
    encoding = os.environ.get("PYTHONIOENCODING", "utf-8")
    for number, name, errors in ((1, "stdout", "strict"), (2, "stderr", "backslashreplace")):
        lines = number == 2 or os.isatty(number)
        stream = os.fdopen(
            number, "w", buffering=1 if lines else -1, encoding=encoding, errors=errors
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    sys.stdin = os.fdopen(0, encoding="utf-8")


def _installed(path: str) -> bool:
    return path.startswith(_STANDARD) or bool(
        {"site-packages", "dist-packages"} & {*Path(path).parts}
    )


def _forget_the_tests() -> None:
    """Keep the modules of installed packages and of nrcscan alone."""
    logging.getLogger().handlers.clear()
    warnings.resetwarnings()
    warnings.simplefilter("ignore", ResourceWarning)
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and not _installed(file) and not file.startswith(_PACKAGE):
            _FORGOTTEN.append(sys.modules.pop(name))
    sys.path[:] = [
        *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)),
        *filter(_installed, sys.path),
    ]


def _run(args: list[str]) -> None:
    apart = False
    while args[0] not in ("-m", "-c"):
        flag = args.pop(0)
        if flag == "-W":
            warnings.simplefilter(args.pop(0))  # type: ignore[arg-type]
        apart = apart or flag == "-P"
    how, what, *rest = args
    if not apart:
        sys.path.insert(0, str(Path.cwd()) if how == "-m" else "")
    if how == "-m":
        sys.argv = [what, *rest]
        sys.modules.pop(f"{what}.__main__", None)
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        sys.argv = ["-c", *rest]
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(what, "<string>", "exec"), main.__dict__)
