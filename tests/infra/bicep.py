"""Bicep files as plain values: what is declared, and the object of each resource."""

from dataclasses import dataclass, field
from pathlib import Path

import tree_sitter
import tree_sitter_bicep

PARSER = tree_sitter.Parser(tree_sitter.Language(tree_sitter_bicep.language()))


@dataclass(frozen=True)
class Expression:
    """Anything that is only known when it is deployed, as it is written."""

    text: str


@dataclass
class Resource:
    symbol: str
    kind: str
    version: str
    existing: bool
    body: dict


@dataclass
class BicepFile:
    path: Path
    mistakes: list = field(default_factory=list)
    resources: list = field(default_factory=list)
    modules: list = field(default_factory=list)  # (symbol, path, parameters)
    parameters: dict = field(default_factory=dict)  # name -> whether it has a default
    variables: dict = field(default_factory=dict)  # name -> value
    outputs: dict = field(default_factory=dict)  # name -> text
    identifiers: list = field(default_factory=list)  # every use of a name, declarations too


def read(path):
    """Parses a file; `mistakes` tells the lines that are no Bicep."""
    source = path.read_bytes()
    root = PARSER.parse(source).root_node
    file = BicepFile(path)
    for node in walk(root):
        if node.is_error or node.is_missing:
            line = node.start_point[0] + 1
            file.mistakes.append(f"{path.name}:{line}: syntax error near {text(node)[:40]!r}")
        if node.type == "identifier":
            file.identifiers.append(text(node))
    for node in root.named_children:
        declaration(node, file)
    return file


def declaration(node, file):
    named = [child for child in node.named_children if child.type != "decorators"]
    if node.type == "resource_declaration":
        kind, _, version = literal(named[1]).partition("@")
        existing = any(child.type == "existing" or text(child) == "existing" for child in node.children)
        file.resources.append(Resource(text(named[0]), kind, version, existing, body(named)))
    elif node.type == "module_declaration":
        parameters = body(named).get("params", {})
        file.modules.append((text(named[0]), literal(named[1]), parameters))
    elif node.type == "parameter_declaration":
        file.parameters[text(named[0])] = any(child.type == "=" for child in node.children)
    elif node.type == "variable_declaration":
        file.variables[text(named[0])] = value(named[-1])
    elif node.type == "output_declaration":
        file.outputs[text(named[0])] = text(named[-1])


def body(named):
    """The object of a declaration, inside its condition and its loop if it has them."""
    last = named[-1]
    while last.type in ("if_statement", "for_statement"):
        last = last.named_children[-1]
    return value(last)


def value(node):
    if node.type == "object":
        properties = [child for child in node.named_children if child.type == "object_property"]
        return {literal(p.named_children[0]): value(p.named_children[-1]) for p in properties}
    if node.type == "array":
        return [value(child) for child in node.named_children if child.type != "comment"]
    if node.type == "string" and not any(c.type == "interpolation" for c in node.named_children):
        return literal(node)
    if node.type == "boolean":
        return text(node) == "true"
    if node.type == "number":
        return int(text(node))
    if node.type == "ternary_expression":
        _, yes, no = (value(child) for child in node.named_children)
        if isinstance(yes, str) and isinstance(no, str):
            return (yes, no)
        for branch in (yes, no):
            if branch and isinstance(branch, dict | list):
                return branch  # the other one is null or empty
    return Expression(text(node))


def literal(node):
    """A name, or what stands between the quotes of a string."""
    return text(node).strip("'")


def text(node):
    return node.text.decode()


def walk(node):
    yield node
    for child in node.children:
        yield from walk(child)
