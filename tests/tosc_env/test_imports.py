"""Import rules of modules: no cycles, one direction, and nothing that knows one particular scheme.

Edges are the imports of a module wherever they stand: at its top, for type hints alone, or inside a function.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {"tosc_env": ROOT / "tosc_env", "tosc_agents": ROOT / "agents" / "tosc_agents"}

LAYERS = (
    # From what everything may import down to what nothing imports; a module imports from its own row and those above.
    # A package stands for its modules, unless one of them has a place of its own.
    ("tosc_env.errors", "tosc_env.types"),
    ("tosc_env.registry", "tosc_env.rows", "tosc_env.devices", "tosc_env.async_checks", "tosc_env.snr"),
    ("tosc_env.identity",),
    ("tosc_env.options", "tosc_env.io.files", "tosc_env.registration", "tosc_env.rendering.snapshot"),
    ("tosc_env.nodes", "tosc_env.metrics", "tosc_env.channels", "tosc_env.data"),
    ("tosc_env.modulation", "tosc_env.tasks", "tosc_env.rewards"),
    ("tosc_env.constraints",),
    ("tosc_env.game",),
    ("tosc_env.schemes", "tosc_env.privacy.threat", "tosc_env.rendering"),
    ("tosc_env.memory",),
    ("tosc_env.pipeline",),
    ("tosc_env.mixture", "tosc_env.exchange"),
    ("tosc_env.privacy",),
    ("tosc_env.attackers",),
    ("tosc_env.io",),
    ("tosc_env.envs.stand_in",),
    ("tosc_env.zoos",),
    ("tosc_env.roles",),
    ("tosc_env.envs",),
    ("tosc_env.testing",),
    ("tosc_env",),  # the names that a user imports
    ("tosc_agents.keys", "tosc_agents.accounting", "tosc_agents.networks"),
    ("tosc_agents.learning", "tosc_agents.perceptual", "tosc_agents.complexity"),
    ("tosc_agents.backbones", "tosc_agents.stages", "tosc_agents.objectives", "tosc_agents.eavesdroppers"),
    ("tosc_agents.schemes",),
    ("tosc_agents.training", "tosc_agents.records", "tosc_agents.pictures"),
    ("tosc_agents.zoo", "tosc_agents.leaks"),
    ("tosc_agents.experiments",),
    ("tosc_agents.commands",),
    # What packs and describes the zoo is run by hand, like a command.
    ("tosc_agents.zoo.pack", "tosc_agents.zoo.cards"),
    ("tosc_agents.cli", "tosc_agents"),
)

NOTHING_OF_OURS = ("tosc_env.types",)

BROTHERS = ("backbones", "stages", "objectives", "eavesdroppers")
"""Folders of tosc_agents whose files are plug-ins: each stands for itself."""

PARTICULAR = {"CNN", "VQ", "Label", "Keyed", "Laplace"}
"""Classes that stand for one way of doing things."""


def modules() -> dict[str, Path]:
    """Every module of both packages by its name."""
    found = {}
    for root in PACKAGES.values():
        for path in sorted(root.rglob("*.py")):
            parts = path.relative_to(root.parent).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imported(name: str) -> Iterator[str]:
    """Our modules that a module imports, anywhere in it."""
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} imports relatively"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                if whole in MODULES:
                    yield whole
                elif node.module in MODULES:
                    yield str(node.module)


EDGES = {name: sorted(set(imported(name)) - {name}) for name in MODULES}


def layer(name: str) -> int:
    """The row of the longest entry that stands for a module."""
    places = {entry: row for row, entries in enumerate(LAYERS) for entry in entries}
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        entry = ".".join(parts[:length])
        # The packages themselves stand for nothing but their own names.
        if entry in places and (length > 1 or entry == name):
            return places[entry]
    raise AssertionError(f"{name} has no row in LAYERS; which way may its imports run?")


def test_the_walk_sees_imports_wherever_they_stand():
    """Or else the tests below would show nothing: one of each kind that is known to be there."""
    assert len(MODULES) > 150
    assert "tosc_env.types" in EDGES["tosc_env.schemes"]  # at the top
    assert "tosc_env.envs.session" in EDGES["tosc_env.envs.common"]  # for type hints
    assert "tosc_env.rendering.figure" in EDGES["tosc_env.rendering.viewer"]  # in a function


def test_no_module_imports_itself_in_a_circle():
    try:
        list(TopologicalSorter(EDGES).static_order())
    except CycleError as error:
        pytest.fail(f"modules import each other in a circle: {' <- '.join(error.args[1])}")


def test_imports_run_one_way():
    against = [f"{one} -> {other}" for one in MODULES for other in EDGES[one] if layer(other) > layer(one)]
    assert not against, "imports against the direction of LAYERS: " + ", ".join(against)


def test_every_row_is_about_something_that_is_there():
    entries = [entry for row in LAYERS for entry in row]
    assert len(entries) == len(set(entries)) and set(entries) <= set(MODULES)


def test_the_environment_knows_nothing_of_the_reference_policies():
    knowing = [one for one in MODULES if one.split(".")[0] == "tosc_env"]
    assert len(knowing) > 50
    assert not [one for one in knowing for other in EDGES[one] if other.split(".")[0] == "tosc_agents"]


@pytest.mark.parametrize("name", NOTHING_OF_OURS)
def test_plain_data_imports_nothing_of_ours(name):
    assert EDGES[name] == []


def test_a_plug_in_imports_no_other_kind_of_plug_in():
    """A stage knows no backbone, an objective no stage, and so on: any goes with any."""

    def kind(name: str) -> str:
        parts = name.split(".")
        return parts[1] if parts[0] == "tosc_agents" and len(parts) > 2 and parts[1] in BROTHERS else ""

    crossing = [
        f"{one} -> {other}"
        for one in MODULES
        for other in EDGES[one]
        if kind(one) and kind(other) and kind(one) != kind(other)
    ]
    assert not crossing


def test_nobody_asks_whether_it_is_one_particular_scheme_or_stage():
    """A part itself is asked what it can do: by its attributes, or by the class that all of its kind share."""
    asking = []
    for name, path in MODULES.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        own = {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            if node.func.id not in ("isinstance", "issubclass"):
                continue
            classes = {leaf.id for leaf in ast.walk(node.args[1]) if isinstance(leaf, ast.Name)}
            classes |= {leaf.attr for leaf in ast.walk(node.args[1]) if isinstance(leaf, ast.Attribute)}
            if classes & PARTICULAR - own:
                asking.append(f"{name}:{node.lineno}")
    assert not asking


# -- what is not ours -------------------------------------------------------------------------------

DISTRIBUTIONS = {"PIL": "pillow", "sionna": "sionna-no-rt", "stable_baselines3": "stable-baselines3"}
"""Distributions whose name is not that of their package."""


def strangers(paths: Iterable[Path]) -> set[str]:
    """The distributions that files import, wherever in them; not Python's own, nor ours."""
    found = set()
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
                ("import_module", "import_sionna")
            ):
                names = [str(arg.value) for arg in node.args if isinstance(arg, ast.Constant)]
            found |= {name.partition(".")[0] for name in names}
    found -= {"", *sys.stdlib_module_names, *PACKAGES}
    return {DISTRIBUTIONS.get(name, name) for name in found}


def declared(lines: Iterable[str]) -> set[str]:
    return {re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in lines}


def test_everything_that_is_imported_is_declared_and_the_other_way_round():
    """A package that comes with another one today may not do so tomorrow."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert strangers(MODULES.values()) == declared(project["dependencies"])


def test_everything_that_tests_examples_and_benchmarks_import_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    paths = [path for folder in ("tests", "examples", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
    beside = {path.stem for path in paths}  # helpers, and strangers' packages of our own
    assert strangers(paths) - beside <= declared([*project["dependencies"], *extras])


def test_no_public_name_is_a_module_too():
    """Importing the module would replace the name; ``testing`` is a package and nothing else."""
    import tosc_env

    folder = Path(tosc_env.__file__).parent
    names = set(tosc_env.__all__) - {"testing"}
    assert not [name for name in names if (folder / f"{name}.py").exists() or (folder / name).is_dir()]
