"""What ``conf.py`` adds to the pages in this folder: one API page a package, READMEs and model cards of the bundles."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import functools
import importlib
import inspect
import io
import itertools
import pkgutil
import re
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any, get_type_hints

from sphinx.ext.napoleon import Config, GoogleDocstring

import monai_ima

GENERATED = "generated"
"""Folder below the documentation's that every build writes; git ignores it."""
BUNDLE_LINK = re.compile(r"\]\((?:\.\./)+bundles/(\w+)/docs/README\.md")
CARD_LINK = re.compile(r"\]\(\.\./models/(?:synthetic/)?README\.md")
NAPOLEON = Config(napoleon_use_ivar=True)
LONGEST_VALUE = 100


def modules() -> list[str]:
    """Full names of all packages and modules of monai_ima."""
    found = pkgutil.walk_packages(monai_ima.__path__, "monai_ima.")
    return sorted(name for _, name, _ in found if not name.endswith("__main__"))


@functools.cache
def described() -> dict[str, list[str]]:
    """By module, the public names that its part of an API page describes.

    Every class and function is described once: in the package that exports it, else where it is. Constants and types
    are described in the module that defines them, which has their docstrings.
    """
    packages, below = ([name for name in modules() if (name.count(".") == 1) is exported] for exported in (True, False))
    found: dict[str, list[str]] = {name: [] for name in modules()}
    seen: set[Any] = set()
    for names, callables_only in ((packages, True), (below, False), (packages, False)):
        for name in names:
            module = importlib.import_module(name)
            for public in getattr(module, "__all__", []):
                value = getattr(module, public)
                is_callable = inspect.isclass(value) or inspect.isroutine(value)
                key = id(value) if is_callable else (public, id(value))
                if key not in seen and (is_callable or not callables_only):
                    seen.add(key)
                    found[name].append(public)
    return found


def module_part(name: str) -> str:
    """The part of an API page on one module: what its docstring says, and its public names."""
    module = importlib.import_module(name)
    lines = [f"{'##' if name.count('.') > 1 else '#'} {name}", "", "```{eval-rst}", f".. py:module:: {name}"]
    package, _, last = name.rpartition(".")
    if last in getattr(sys.modules[package], "__all__", []):
        lines.append("   :no-index:")  # a public function has the module's name
    lines += ["", inspect.getdoc(module) or "", ""]
    for public in described()[name]:
        lines += public_name(name, public)
    return "\n".join([*lines, "```", ""])


def public_name(module: str, public: str) -> list[str]:
    """The directive that describes a class, a function or a constant."""
    value = getattr(sys.modules[module], public)
    if inspect.isclass(value):
        kind = "exception" if issubclass(value, BaseException) else "class"
        arguments = "()" if hasattr(value, "__pydantic_fields__") else ""
        return [f".. auto{kind}:: {module}.{public}{arguments}", "   :members:", "   :show-inheritance:", ""]
    if inspect.isroutine(value):
        return [f".. autofunction:: {module}.{public}", ""]
    shown = repr(value)
    plain = isinstance(value, str | int | float | tuple) and len(shown) <= LONGEST_VALUE and "\n" not in shown
    return [
        f".. py:data:: {module}.{public}",
        *([f"   :value: {shown}"] if plain else []),
        "",
        *(f"   {line}" for line in constants(module).get(public, "").splitlines()),
        "",
    ]


def constants(module: str) -> dict[str, str]:
    """The docstrings that stand below a module's constants."""
    body = ast.parse(inspect.getsource(sys.modules[module])).body
    found = {}
    for node, below in itertools.pairwise(body):
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            names = [target.id for target in targets if isinstance(target, ast.Name)]
            found.update(dict.fromkeys(names, inspect.cleandoc(str(below.value.value))))
    return found


def api_pages() -> dict[str, str]:
    """Page by file name: one a package, with its modules that have public names of their own."""
    pages = {}
    for package in (name for name in modules() if name.count(".") == 1):
        parts = [package, *(name for name in modules() if name.startswith(f"{package}.") and described()[name])]
        pages[f"{package.removeprefix('monai_ima.')}.md"] = "\n".join(map(module_part, parts))
    return pages


def write_pages(docs: Path) -> None:
    """Write the generated pages; a file whose text stays is left alone."""
    pages = {f"api/{name}": text for name, text in api_pages().items()}
    for readme in docs.parent.glob("bundles/*/docs/README.md"):
        root = readme.parent.parent
        pages[f"bundles/{root.name}.md"] = CARD_LINK.sub(
            f"](../cards/{root.name}.md", readme.read_text(encoding="utf-8")
        )
        for card in root.glob("models/**/README.md"):
            pages[f"cards/{root.name}.md"] = card.read_text(encoding="utf-8")
    for name, text in pages.items():
        file = docs / GENERATED / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")


def write_pictures(docs: Path) -> None:
    """The pictures of the concepts, drawn by ``benchmarks/concepts.py`` where they are not there."""
    folder = docs / GENERATED
    if not (folder / "equilibrium.png").is_file():
        import concepts

        with contextlib.redirect_stderr(io.StringIO()):  # progress of the training
            figures = concepts.figures()
        for name, figure in figures.items():
            figure.savefig(folder / f"{name}.png", dpi=120)


def lead_to_copies(app: Any, document: str, source: list[str]) -> None:
    """Links to a bundle's README, which stands outside the site, lead to its copy."""
    source[0] = BUNDLE_LINK.sub(rf"](/{GENERATED}/bundles/\1.md", source[0])


def read_docstring(app: Any, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Google style; types stand in annotations alone, so no colon in what is returned, or in a constant, parts one."""
    for heading, field in (("Returns:", ":returns:"), ("Yields:", ":yields:")):
        if heading in lines:
            at = lines.index(heading)
            lines[at : at + 2] = [f"{field} {lines[at + 1].strip()}"]
    what = "method" if what in ("attribute", "data", "property") else what
    lines[:] = GoogleDocstring(list(lines), NAPOLEON, app, what, name, value, options).lines()


def read_signature(app: Any, what: str, name: str, value: Any, options: Any, arguments: str, returned: str) -> Any:
    """A data class writes a default that a function makes as ``<factory>``, which is no Python."""
    return arguments and arguments.replace("<factory>", "..."), returned


def without_metadata() -> None:
    """Annotations say their types without what ``Annotated`` adds for the command line and for pydantic."""
    for name in modules():
        for value in list(vars(importlib.import_module(name)).values()):
            if getattr(value, "__module__", None) != name or not (inspect.isclass(value) or inspect.isfunction(value)):
                continue
            own = [getattr(part, "fget", part) for part in vars(value).values()] if inspect.isclass(value) else []
            for described in [value, *(part for part in own if inspect.isfunction(part))]:
                annotations = getattr(described, "__annotations__", None)
                if annotations:
                    fields = described.__name__ == "__init__" and dataclasses.is_dataclass(value)
                    with contextlib.suppress(NameError):  # of a name that is imported for type checkers only
                        plain = {"return": None, **get_type_hints(value if fields else described)}
                        described.__annotations__ = {key: plain[key] for key in annotations}


def lead_to_public_name(app: Any, environment: Any, node: Any, content: Any) -> Any:
    """``:class:`PGD``` leads to the one public name that ends so; a name that exists but has no page stays plain text.

    What is left, a name that neither this library nor another knows, is a warning of Sphinx.
    """
    if node.get("refdomain") != "py":
        return None
    domain = environment.domains["py"]
    target = node["reftarget"]
    found = [
        name for name in names_by_end(domain, len(domain.objects))[target.split(".")[-1]] if name.endswith(f".{target}")
    ]
    if len(found) == 1:
        kind, document = node["reftype"], node["refdoc"]
        resolved = domain.resolve_xref(environment, document, app.builder, kind, found[0], node, content)
        if resolved is not None:
            return resolved
    ours = target.startswith("monai_ima.")
    return content if target.split(".")[-1] in identifiers() or ("." in target and not ours) else None


@functools.cache
def names_by_end(domain: Any, count: int) -> dict[str, list[str]]:
    """Full names of what is described, by their last part."""
    found: dict[str, list[str]] = defaultdict(list)
    for name, entry in domain.objects.items():
        if not entry.aliased:
            found[name.split(".")[-1]].append(name)
    return found


@functools.cache
def identifiers() -> set[str]:
    """Every name that the library's code uses."""
    found: set[str] = set()
    for file in Path(monai_ima.__path__[0]).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            found.update(
                str(getattr(node, field)) for field in ("id", "attr", "arg", "name", "asname") if hasattr(node, field)
            )
    return found
