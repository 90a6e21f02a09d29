"""Which classes stored states may be of: a checkpoint folder may come from a stranger.

What a pickle names is looked up here, by its exact name, and nothing else is: no function, nothing
that is found by walking from one name to the next, nothing that would have to be imported for it.
What the folder says of itself does not matter; the list follows from the code that runs.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from functools import cached_property
from types import FunctionType, ModuleType
from typing import Any

STANDARD: dict[str, frozenset[str]] = {
    module: frozenset(names.split())
    for module, names in {
        "array": "array _array_reconstructor",
        "builtins": "bool bytearray bytes complex dict Ellipsis float frozenset int list "
                    "NotImplemented object range set slice str tuple",
        "collections": "ChainMap Counter OrderedDict UserDict UserList UserString defaultdict "
                       "deque",
        "datetime": "date datetime time timedelta timezone",
        "decimal": "Decimal",
        "fractions": "Fraction",
        "ipaddress": "IPv4Address IPv4Interface IPv4Network IPv6Address IPv6Interface IPv6Network",
        "pathlib": "Path PosixPath PurePath PurePosixPath PureWindowsPath WindowsPath",
        "pathlib._local": "Path PosixPath PurePath PurePosixPath PureWindowsPath WindowsPath",
        "random": "Random",
        "types": "SimpleNamespace",
        "uuid": "SafeUUID UUID",
    }.items()
}  # fmt: skip
"""Data types of the standard library, and the exceptions of `builtins`: making one does nothing."""

NUMPY: dict[str, frozenset[str]] = {
    "numpy": frozenset({"dtype", "ndarray"}),
    **dict.fromkeys(("numpy.core.multiarray", "numpy._core.multiarray"),
                    frozenset({"_reconstruct", "scalar"})),
    **dict.fromkeys(("numpy.core.numeric", "numpy._core.numeric"), frozenset({"_frombuffer"})),
}  # fmt: skip
"""What arrays and numbers of numpy are stored by, where a plugin has imported it."""


class NotAllowed(Exception):
    """A class that stored states may not be of, or something that is no class: its name. is_gone:
    it is of a module of the run's own, and not there.
    """

    def __init__(self, named: str, *, is_gone: bool = False) -> None:
        super().__init__(
            f"{named} is no data type that Roo knows, nor a class of this run's plugins"
        )
        self.named = named
        self.is_gone = is_gone
        self.hint = (
            f"import the class {named} at the top of the plugin module that has the state's "
            "factory, or keep plain data in the state"
        )


class Allowed:
    """The classes of a run: what its plugin modules define or have imported by name, what the
    modules beside them define that they use, and data types of the standard library.

    modules: the plugin modules, which are imported.
    """

    def __init__(self, modules: Iterable[str]) -> None:
        self._modules = tuple(modules)
        self._found: dict[tuple[str, str], Any] = {}

    def find(self, module: str, name: str) -> Any:
        """What a stored state names. Raises NotAllowed."""
        found = self._found.get((module, name))
        if found is None:
            found = self._found[module, name] = self._look_up(module, name)
        return found

    def find_class(self, named: str) -> type:
        """A class by "module:name". Raises NotAllowed."""
        module, _, name = named.partition(":")
        found = self.find(module, name)
        if not isinstance(found, type):
            raise NotAllowed(named)
        return found

    def _look_up(self, module: str, name: str) -> Any:
        if name in STANDARD.get(module, ()):
            return getattr(importlib.import_module(module), name)
        if name in NUMPY.get(module, ()) and module in sys.modules:
            return getattr(sys.modules[module], name)
        found: Any = sys.modules.get(module)
        for part in name.split("."):
            found = vars(found).get(part) if isinstance(found, (ModuleType, type)) else None
        is_exact = isinstance(found, type) and (found.__module__, found.__qualname__) == (
            module,
            name,
        )
        if is_exact and module == "builtins" and issubclass(found, Exception):
            return found
        modules, classes = self._own
        if not is_exact or (module not in modules and found not in classes):
            raise NotAllowed(f"{module}:{name}", is_gone=found is None and module in modules)
        return found

    @cached_property
    def _own(self) -> tuple[set[str], set[type]]:
        """(modules whose classes are the run's, classes that these have imported)."""
        tops = {module.partition(".")[0] for module in self._modules}
        modules: set[str] = set()
        classes: set[type] = set()
        waiting = list(self._modules)
        while waiting:
            name = waiting.pop()
            module = sys.modules.get(name)
            if module is None or name in modules:
                continue
            modules.add(name)
            for value in vars(module).values():
                if isinstance(value, ModuleType):
                    home = value.__name__
                elif isinstance(value, (type, FunctionType)):
                    home = value.__module__
                else:
                    continue
                if isinstance(value, type) and not _is_standard(home):
                    classes.add(value)
                if home.partition(".")[0] in tops or _is_beside(home):
                    waiting.append(home)
        return modules, classes


def _is_standard(module: str) -> bool:
    return module.partition(".")[0] in sys.stdlib_module_names


def _is_beside(module: str) -> bool:
    """Whether a module is the project's own: neither installed, nor standard, nor Roo's."""
    file = getattr(sys.modules.get(module), "__file__", None)
    installed = ("site-packages", "dist-packages")
    return (
        file is not None
        and not _is_standard(module)
        and module.partition(".")[0] != "roo"
        and not any(part in file for part in installed)
    )
