"""CPython's test modules, loaded with the names of builtins replaced."""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
import sys
import types
import unittest
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_LONG: Final = re.compile(
    "long_steadystate|doesnt_blowup|big_queue|big_stack|highly_nested|TestGraphs|_with_mutation"
)
"""Tests that take seconds."""

_DEEP: Final = re.compile("test_repr_deep")
"""Makes 150,000 containers inside each other from Python 3.14 on: two minutes."""


@dataclass(frozen=True)
class Suite:
    """Tests of one kind of container.

    Attributes:
        module: Of the standard library's `test` package.
        kind: Of container.
        name: The builtin's name there, which a factory replaces.
        classes: Which of its test cases are meant: a regular expression.
        displays: Whether `{...}` is replaced, too.
    """

    module: str
    kind: str
    name: str
    classes: str = ""
    displays: bool = False

    def load(self, factory: Any) -> types.ModuleType:
        """Run the module with a factory in the place of the builtin."""
        module = types.ModuleType(f"{__name__}.{self.module}")
        sys.modules[module.__name__] = module  # pickle looks for classes there
        setattr(module, self.name, factory)
        exec(_code(self), vars(module))
        return module

    def cases(self, module: types.ModuleType, *, every: bool) -> list[unittest.TestCase]:
        """The test cases, one by one; without those that take seconds, if not `every` is asked."""
        found = [
            cls
            for name, cls in vars(module).items()
            if isinstance(cls, type)
            and issubclass(cls, unittest.TestCase)
            and re.search(self.classes, name)
        ]
        loader = unittest.TestLoader()
        cases: Any = [case for cls in found for case in loader.loadTestsFromTestCase(cls)]
        return [case for case in cases if every or not _takes_long(case.id())]


def _takes_long(test: str) -> bool:
    deep = sys.version_info >= (3, 14) and _DEEP.search(test)
    return bool(deep or _LONG.search(test))


class _Replacer(ast.NodeTransformer):
    """Lets a module use the name of a builtin wherever it has that itself."""

    def __init__(self, suite: Suite) -> None:
        self._suite = suite

    def visit_ImportFrom(self, node: ast.ImportFrom) -> Any:
        names = [alias for alias in node.names if alias.name != self._suite.name]
        return ast.ImportFrom(node.module, names, node.level) if names else ast.Pass()

    def visit_Attribute(self, node: ast.Attribute) -> Any:
        owner = node.value.id if isinstance(node.value, ast.Name) else ""
        if owner in ("collections", "c_coll") and node.attr == self._suite.name:
            return ast.Name(self._suite.name, ast.Load())
        return self.generic_visit(node)

    def visit_Dict(self, node: ast.Dict) -> Any:
        if not self._suite.displays:
            return self.generic_visit(node)
        return ast.Call(ast.Name(self._suite.name, ast.Load()), [node], [])


SUITES: Final = {
    "dict": Suite("test_dict", "dict", "dict", displays=True),
    "set": Suite("test_set", "set", "set", "^(?!.*Frozen)"),
    "list": Suite("test_list", "list", "list"),
    "counter": Suite("test_collections", "counter", "Counter", "^TestCounter$"),
    "deque": Suite("test_deque", "deque", "deque"),
    "ordereddict": Suite("test_ordered_dict", "ordereddict", "OrderedDict", "^C(?!PythonBuiltin)"),
    "defaultdict": Suite("test_defaultdict", "defaultdict", "defaultdict"),
}


@functools.cache
def _code(suite: Suite) -> types.CodeType:
    """The module, compiled with the names replaced."""
    spec = importlib.util.find_spec(f"test.{suite.module}")
    assert spec is not None
    source = Path(str(spec.origin)).read_text(encoding="utf-8")
    tree = _Replacer(suite).visit(ast.parse(source))
    return compile(ast.fix_missing_locations(tree), str(spec.origin), "exec")
