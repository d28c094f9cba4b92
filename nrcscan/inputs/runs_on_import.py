"""What a file of Python does on import beyond defining things: training, writing, parsing.

A judgement from the text alone, for files that mean no harm: a script without a main guard would
train again, and write over its checkpoint. It is no sandbox. docs/formats.md states the rule.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from nrcscan.inputs.script_source import Function, Script, blocks


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


ACTS = _words("""
    fit partial_fit fit_generator backward step learn train train_model train_one_epoch run main
    launch spawn popen Popen check_call check_output parse_args parse_known_args
    parse_intermixed_args unlink rmtree touch symlink_to to_csv to_parquet to_pickle
    to_excel to_hdf urlretrieve urlopen snapshot_download hf_hub_download login start_run exec eval
    input sleep SummaryWriter
""")
"""Calls that train, write, fetch, wait or read the command line, whatever their value is for."""

_ACTS_FROM = ("save", "write_", "download", "finetune", "fine_tune", "copyfile", "push_to_")
"""How the names of such calls begin."""

_WRITES = _words("system dump write remove rename replace copy copy2 copytree move")
"""Such calls of these modules; methods of these names change lists and strings."""

_WRITERS = _words("os shutil json pickle yaml joblib toml dill")

_OPENS = _words("open File ZipFile memmap open_memmap")
"""Calls that take a mode, of files that may be written to."""

_TRACKERS = _words("wandb ray neptune mlflow comet_ml swanlab clearml")
"""Modules whose `init` begins a run."""

SETS = _words("""
    append extend insert add update setdefault pop remove discard clear sort reverse register store
    seed manual_seed manual_seed_all seed_everything print filterwarnings simplefilter basicConfig
    captureWarnings warn info debug warning error exception critical log setLevel addHandler
    addFilter setFormatter to cuda cpu float double half bfloat16 type apply load_state_dict
    share_memory use set switch_backend install load_dotenv putenv enable disable setrecursionlimit
    setlocale signal seterr setattr delattr collect freeze compile build tie_weights init_weights
    reset_parameters mkdir makedirs define summary ion pandas freeze_support __setattr__ __init__
    __init_subclass__ empty_cache synchronize reset_peak_memory_stats reconfigure flush head tail
    describe display help
""")
"""Calls that are made for what they set up: seeds, logging, warnings, paths, parts of a network."""

_SETS_FROM = (
    *("set_", "add_", "register_", "enable_", "disable_", "use_", "DEFINE_", "manual_seed"),
    *("seed", "fix_seed", "configure", "setup_log", "init_log"),
)
"""How the names of such calls begin."""

_WRITE_MODE = re.compile(r"[rbtU]*[wax+][rbtUwax+]*")


class Doing(NamedTuple):
    """A statement that does something on import.

    Attributes:
        path: of its file.
        line: its number.
        text: its first line.
    """

    path: Path
    line: int
    text: str


class OnImport:
    """Looks through a file, and the user's own files that it imports.

    Args:
        search: where modules are looked for as it is imported, in order.
    """

    def __init__(self, search: Sequence[str]) -> None:
        self._search = search
        self._scripts: dict[Path, Script] = {}
        self._judged: dict[tuple[Path, str], bool] = {}

    def script(self, path: Path) -> Script:
        """Return a file as it stands.

        Raises:
            SyntaxError: it is no Python.
            OSError: it cannot be read.
        """
        path = path.resolve()
        if path not in self._scripts:
            self._scripts[path] = Script(path, self._search)
        return self._scripts[path]

    def doings(self, paths: Sequence[Path], called: str | None = None) -> list[Doing]:
        """Return what files, and the user's own files that they import, do on import.

        Args:
            paths: of the files.
            called: the name of what is called in the last, whose own imports count too.

        Raises:
            SyntaxError: a file is no Python.
            OSError: a file cannot be read.
        """
        found: list[Doing] = []
        waiting = [path.resolve() for path in paths]
        seen, last = set(waiting), waiting[-1]
        while waiting:
            script = self.script(waiting.pop(0))
            found += self._doings(script)
            imports = list(script.imported.values())
            if script.path == last:
                for node in script.body:
                    if isinstance(node, Function | ast.ClassDef) and node.name == called:
                        imports += script.imports(node).values()
            for file, _ in imports:
                if file.resolve() not in seen:
                    seen.add(file.resolve())
                    waiting.append(file.resolve())
        return found

    def _doings(self, script: Script) -> Iterator[Doing]:
        for statement in script.body:
            if self._does(script, statement):
                line = script.line(statement)
                yield Doing(script.path, statement.lineno, line)

    def _does(self, script: Script, statement: ast.stmt) -> bool:
        """Whether a statement does something beyond defining and setting up."""
        if isinstance(statement, Function):
            return False
        if isinstance(statement, ast.ClassDef):
            return any(self._does(script, inner) for inner in statement.body)
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
            call = statement.value
            parts = [*call.args, *(keyword.value for keyword in call.keywords), call.func]
            if self._acts(script, call, discarded=True):
                return True
            return any(self._act_within(script, part) for part in parts)
        for child in ast.iter_child_nodes(statement):
            if isinstance(child, ast.expr | ast.withitem) and self._act_within(script, child):
                return True
        return any(self._does(script, inner) for block in blocks(statement) for inner in block)

    def _act_within(self, script: Script, expression: ast.AST) -> bool:
        """Whether a call somewhere in an expression does something."""
        waiting = [expression]
        while waiting:
            node = waiting.pop()
            if isinstance(node, ast.Lambda):
                continue
            if isinstance(node, ast.Call) and self._acts(script, node, discarded=False):
                return True
            waiting += ast.iter_child_nodes(node)
        return False

    def _acts(self, script: Script, call: ast.Call, *, discarded: bool) -> bool:
        """Whether a call does something beyond setting up; one whose value is kept may compute."""
        dotted = _dotted(call.func)
        base, _, name = dotted.rpartition(".")
        known = self._defined(script, dotted, base, name)
        if known is not None:
            return self._does_inside(*known)
        if name in _OPENS:
            return _opens_to_write(call)
        if name.startswith("parse_") and call.args and isinstance(call.args[0], ast.List):
            return False  # no command line is read
        if name in {"train", "eval"} and base:  # of a network: its mode
            return bool(call.args or call.keywords) and name == "train"
        if name == "init":
            return discarded or base in _TRACKERS
        root = base.partition(".")[0]
        if name in ACTS or name.startswith(_ACTS_FROM) or (name in _WRITES and root in _WRITERS):
            return True
        if not discarded:
            return False
        if not base and name in script.networks:
            return False  # as a trial, say
        inits = "init" in base.split(".") or name.endswith("_")  # nn.init, and tensors in place
        return not (name in SETS or name.lstrip("_").startswith(_SETS_FROM) or inits)

    def _defined(
        self, script: Script, dotted: str, base: str, name: str
    ) -> tuple[Script, Function] | None:
        """Return the user's own function that is called, if it is one, and where it stands."""
        if not base and name in script.functions:
            return script, script.functions[name]
        imports = script.imported
        if dotted in imports and imports[dotted][1] is not None:
            file, there = imports[dotted]
        elif base in imports:
            file, there = imports[base][0], name
        elif base and name in script.methods and base.partition(".")[0] not in script.modules:
            return script, script.methods[name]
        else:
            return None
        other = self.script(file)
        function = other.functions.get(str(there))
        return None if function is None else (other, function)

    def _does_inside(self, script: Script, function: Function) -> bool:
        """Whether a function does something when it is called."""
        key = (script.path, f"{function.name}:{function.lineno}")
        if key not in self._judged:
            self._judged[key] = False  # while it is looked at, for one that calls itself
            self._judged[key] = any(self._does(script, inner) for inner in function.body)
        return self._judged[key]


def _dotted(function: ast.expr) -> str:
    """Return the name of what is called, with what it is of as far as that is names."""
    if isinstance(function, ast.Name):
        return function.id
    if isinstance(function, ast.Attribute):
        return f"{_dotted(function.value) or '?'}.{function.attr}"
    return ""


def _opens_to_write(call: ast.Call) -> bool:
    """Whether a call of `open` asks for more than to read."""
    modes = [word.value for word in call.keywords if word.arg == "mode"]
    if isinstance(call.func, ast.Name):
        modes += call.args[1:2]
        if any(not isinstance(mode, ast.Constant) for mode in modes):
            return True
    else:  # a path's takes the mode first, other modules' a path
        modes += call.args[:2]
    texts = [str(mode.value) for mode in modes if isinstance(mode, ast.Constant)]
    return any(_WRITE_MODE.fullmatch(text) for text in texts)
