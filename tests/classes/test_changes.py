"""A class changes between two runs of a program: what is stored is still read, or it is told."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Final

import pytest

from tests import programs

pytestmark = pytest.mark.usefixtures("forked_programs")

HEAD: Final = """
import dataclasses, enum
from typing import NamedTuple
import autostate
autostate.configure("sqlite:///s.db", debounce=3600)
"""


def run(folder: Path, *parts: str) -> str:
    """Run a program in a process of its own; the last line that it printed, or its error."""
    code = HEAD + "\n".join(map(textwrap.dedent, parts))
    done = programs.run(code, folder)
    if done.returncode:
        return done.stderr
    return done.stdout.strip().rpartition("\n")[2]


MAKES: Final = {
    "dataclass": "@dataclasses.dataclass\nclass Cart:",
    "slots": "@dataclasses.dataclass(slots=True)\nclass Cart:",
    "attrs": "import attrs\n@attrs.define\nclass Cart:",
    "namedtuple": "class Cart(NamedTuple):",
    "pydantic": "import pydantic\nclass Cart(pydantic.BaseModel):",
}
SAVE: Final = """
state = autostate.PersistedDict("state")
state["cart"] = Cart(owner="anna", pieces=3)
state["list"] = [state["cart"]]
"""
READ: Final = """
state = autostate.PersistedDict("state")
print(state["cart"], state["list"][0].{field})
"""
REGISTERED: Final = """
def decode(saved):
    assert isinstance(saved, dict), saved
    return Cart(owner=saved["owner"], count=saved.get("pieces") or saved["count"])

autostate.register(
    Cart, "cart", encode=lambda c: {"owner": c.owner, "count": c.count}, decode=decode
)
"""


@pytest.mark.parametrize("make", MAKES)
def test_a_renamed_field_is_read_by_a_registered_decode(make: str, tmp_path: Path) -> None:
    """What is stored under the class's own name is given to it as a dict of the fields."""
    pytest.importorskip(make) if make in ("attrs", "pydantic") else None
    cls = MAKES[make]
    now = f"{cls}\n    owner: str\n    count: int"
    assert run(tmp_path, f"{cls}\n    owner: str\n    pieces: int", SAVE) == ""
    refused = run(tmp_path, now, READ.format(field="count"))
    assert "CorruptStateError" in refused
    assert "register the class with a decode" in refused
    for _ in range(2):  # the second time it reads what it has written itself
        shown = run(tmp_path, now, REGISTERED, READ.format(field="count"))
        assert "count=3" in shown
        assert shown.endswith(" 3")
        now += "\n    # its source changes"
        run(tmp_path, now, REGISTERED, READ.format(field="count"), 'state["more"] = state["cart"]')


def test_a_class_may_become_one_of_which_nothing_is_known(tmp_path: Path) -> None:
    """A dataclass no more: its registered decode reads what it was."""
    run(tmp_path, "@dataclasses.dataclass\nclass Cart:\n    owner: str\n    pieces: int", SAVE)
    plain = (
        "class Cart:\n    def __init__(self, owner, count): self.owner, self.count = owner, count"
    )
    assert "UnknownTypeError" in run(tmp_path, plain, READ.format(field="count"))
    assert run(tmp_path, plain, REGISTERED, READ.format(field="count")).endswith(" 3")


def test_a_field_that_is_not_set_is_not_given_to_a_decode(tmp_path: Path) -> None:
    """Neither from before the class had a tag, nor from before its tag had a decode."""
    source = "@dataclasses.dataclass\nclass Cart:\n    owner: str\n    pieces: int"
    gone = 'del state["cart"].pieces\nprint(vars(state["cart"]))'
    decode = """
    def decode(saved):
        cart = Cart.__new__(Cart)
        vars(cart).update(saved)
        return cart

    autostate.register(Cart, "cart", encode=vars, decode=decode)
    print(vars(autostate.PersistedDict("state")["cart"]))
    """
    for name, tag in (("a", ""), ("b", 'autostate.register(Cart, "cart")')):
        folder = tmp_path / name
        folder.mkdir()
        assert run(folder, source, tag, SAVE, gone) == "{'owner': 'anna'}"
        assert run(folder, source, decode) == "{'owner': 'anna'}"


def test_a_model_gives_all_of_its_fields_to_a_decode(tmp_path: Path) -> None:
    """Extra ones and private ones too, and nothing of pydantic's own."""
    pytest.importorskip("pydantic")
    source = """
    import pydantic
    class Cart(pydantic.BaseModel, extra="allow"):
        owner: str
        pieces: int
        _seen: int = 5
    """
    saved = SAVE.replace("pieces=3", "pieces=3, more=1")
    decode = """
    autostate.register(Cart, "cart", encode=dict, decode=lambda saved: saved)
    print(autostate.PersistedDict("state")["cart"])
    """
    for name, tag in (("a", ""), ("b", 'autostate.register(Cart, "cart")')):
        folder = tmp_path / name
        folder.mkdir()
        run(folder, source, tag, saved)
        expected = "{'owner': 'anna', 'pieces': 3, 'more': 1, '_seen': 5}"
        assert run(folder, source, decode) == expected


def test_a_renamed_class_is_found_under_its_old_name(tmp_path: Path) -> None:
    """By its tag; or, if it had none, by another name for it where it was."""
    fields = "owner: str\n    pieces: int"
    old, new = (
        f"@dataclasses.dataclass\nclass {name}:\n    {fields}" for name in ("Cart", "Basket")
    )
    read = READ.format(field="pieces")
    for name, tag, way in (
        ("tag", 'autostate.register(Cart, "cart")', 'autostate.register(Basket, "cart")'),
        ("none", "", "Cart = Basket"),
    ):
        folder = tmp_path / name
        folder.mkdir()
        run(folder, old, tag, SAVE)
        assert "UnknownTypeError" in run(folder, new, read)
        assert run(folder, new, way, read) == "Basket(owner='anna', pieces=3) 3"


def test_an_enum_that_lost_a_member_names_it(tmp_path: Path) -> None:
    """With its class."""
    member = 'autostate.PersistedDict("state")["a"] = Color.RED'
    run(tmp_path, "class Color(enum.Enum):\n    RED = 1\n    BLUE = 2", member)
    told = run(
        tmp_path, "class Color(enum.Enum):\n    BLUE = 2", 'autostate.PersistedDict("state")'
    )
    assert "__main__:Color has the member 'RED'" in told
