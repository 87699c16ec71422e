"""Writes the messages of preflight and playbooks into docs/troubleshooting.md: `python -m tools.troubleshooting`.

With `--check` it only compares. Messages are taken from the code: in Python from what ends a task (fail_json,
exceptions, findings of preflight), in YAML from `fail`, `assert` and `wait_for`. What is only known in a run is <name>.
"""

from __future__ import annotations

import argparse
import ast
import itertools
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import yaml
from jinja2 import nodes

from .role_readmes import renewed

ROOT = Path(__file__).resolve().parents[1]
PAGE = "docs/troubleshooting.md"
BEGIN = "<!-- messages: made by tools/troubleshooting.py from plugins, roles and playbooks -->"
END = "<!-- end of messages -->"

#: The stages of a run in their order: a title, and how the names of its files begin. The first that fits counts.
STAGES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Validation of inventory and control node", ("preflight", "k3s/keys", "k3s/version")),
    ("Cards and first login", ("flash",)),
    ("Base system", ("raspberry_pi",)),
    ("Shared storage", ("nfs",)),
    ("k3s", ("k3s", "kube/", "certificate", "node_labels")),
    ("Container image", ("container_image",)),
    ("Manifests", ("manifests", "kustomize")),
    ("Notebooks and results", ("notebooks", "dataset", "shared_data", "archives", "results", "runs")),
    ("Check of the cluster", ("cluster_check",)),
    ("Backup, restore and move of the data", ("cluster_backup", "backup", "restore", "move")),
    ("Any playbook", ("",)),
)
#: Where a call has problem and remedy; a missing variable has only a remedy.
FINDINGS = {
    "add": (3, 4), "setting": (2, 3), "Finding": (3, 4), "unreadable_at": (2, 3), "Problem": (2, 3), "Rule": (2, 3),
    "host": (1, 2), "here": (1, 2),
}  # fmt: skip
#: Where those of them have the key that is before their problem.
KEYED = {"add": 1, "Finding": 1, "unreadable_at": 1, "host": 0, "here": 0}
LISTS = {"errors", "problems", "reasons", "faults"}
_REASONS = re.compile(r"(^message|problems?|advice|errors?|reasons?|remedy|unfinished)$")
_PLACEHOLDER = re.compile(r"<[^>]*>")
_WORD = re.compile(r"[A-Za-z]{2,}")
_TOPIC = re.compile(r"(?:plugins/module_utils/|plugins/\w+/|roles/|playbooks/(?:stages/)?)")
#: Placeholders that say more than the variable's name.
NAMES = {"inventory_hostname": "host", "ansible_host": "address", "item": "name", "ansible_play_hosts": "hosts"}
Assigned = dict[str, list[ast.expr]]
MOST = 12
"""Variants of one message, such as those of a condition."""


@dataclass(frozen=True, order=True)
class Message:
    """What is wrong, and what to do if the code says it apart; and the file that has it."""

    text: str
    remedy: str
    file: str


def placeholder(name: str) -> str:
    """What stands for a value: <name>, without the underscores and role's name of variables that are not public."""
    private = re.sub(
        r"^_+(?:k3s|flash|raspberry_pi|nfs_server|container_image|manifests|notebooks|cluster_\w+?)_", "", name
    )
    return f"<{NAMES.get(name, private.strip('_').lower() or 'value')}>"


def combined(parts: list[list[str]]) -> list[str]:
    """One text of parts that have variants each: (a / b), or (a) where it may be missing. One part stays as it is."""
    if len(parts) == 1:
        return parts[0]
    return ["".join(part[0] if len(part) == 1 else f"({' / '.join(filter(None, part))})" for part in parts)]


class Python:
    """The messages of a Python file."""

    def __init__(self, tree: ast.Module, file: str) -> None:
        self.tree, self.file = tree, file
        self.functions = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        self.known = self._assigned(tree.body)

    @staticmethod
    def _assigned(body: list[Any]) -> Assigned:
        """What is assigned to each name, also as one of several."""
        found: Assigned = {}
        for node in body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            value = getattr(node, "value", None)
            if not isinstance(node, ast.Assign | ast.AnnAssign) or value is None:
                continue
            for target in targets:
                pairs = [(target, value)]
                if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
                    pairs = list(zip(target.elts, value.elts, strict=False))
                for name, each in pairs:
                    if isinstance(name, ast.Name):
                        found.setdefault(name.id, []).append(each)
        return found

    def messages(self) -> Iterator[Message]:
        """Each message of the file."""
        yield from self._block(self.tree.body, {}, None)

    def _block(self, body: list[Any], known: Assigned, function: ast.FunctionDef | None) -> Iterator[Message]:
        """The messages of statements; `known` is what was assigned before them, in this block or around it."""
        for statement in body:
            if isinstance(statement, ast.FunctionDef | ast.ClassDef):
                inner = statement if isinstance(statement, ast.FunctionDef) else None
                yield from self._block(statement.body, dict(known), inner)
                continue
            for node in _expressions(statement):
                # `key, kind = "a", "b"` are two values, not a problem and its remedy.
                if isinstance(statement, ast.Assign) and node is statement.value and _is_tuple(statement.targets[0]):
                    continue
                for problem, remedy in self._found(node, function):
                    problems = self.texts(problem, known)
                    remedies = self.texts(remedy, known) if remedy is not None else [""]
                    for text, advice in itertools.islice(itertools.product(problems, remedies), MOST):
                        yield Message(" ".join(text.split()), " ".join(advice.split()), self.file)
            for block in _blocks(statement):
                yield from self._block(block, dict(known), function)
            # A value that is assigned in a branch may be the one afterwards, or the one before it is.
            for name, values in self._assigned(list(ast.walk(statement))).items():
                known[name] = values if isinstance(statement, ast.Assign) else [*known.get(name, []), *values]

    def _found(self, node: ast.AST, top: ast.FunctionDef | None) -> Iterator[tuple[ast.expr, ast.expr | None]]:
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
            if _name(node.exc.func) not in ("AssertionError", "KeyError", "SystemExit"):
                yield node.exc.args[-1], None
        elif isinstance(node, ast.Call):
            yield from self._call(node)
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.List) and _name(node.targets[0]) in LISTS:
            yield from ((each, None) for each in node.value.elts if _is_text(each))
        elif isinstance(node, ast.Dict):
            fields = {
                key.value: value
                for key, value in zip(node.keys, node.values, strict=True)
                if isinstance(key, ast.Constant)
            }
            failed = fields.get("failed")
            if "msg" in fields and isinstance(failed, ast.Constant) and failed.value is True:
                yield fields["msg"], None
            # Of a table with three columns the first is what is looked for.
            for value in node.values:
                if isinstance(value, ast.Tuple) and len(value.elts) == 3 and all(map(_is_text, value.elts[1:])):
                    yield value.elts[1], value.elts[2]
        elif isinstance(node, ast.Tuple) and len(node.elts) == 2 and all(map(_is_text, node.elts)):
            if " " in "".join(text for each in node.elts for text in self.texts(each, {})):
                yield node.elts[0], node.elts[1]
        elif isinstance(node, ast.Return | ast.Yield) and node.value is not None and top is not None:
            if isinstance(node.value, ast.Tuple) and len(node.value.elts) == 4 and isinstance(node, ast.Yield):
                yield node.value.elts[2], node.value.elts[3]
            elif (
                _REASONS.search(top.name)
                and _is_text(node.value)
                and "report" not in {each.arg for each in top.args.args}
            ):
                yield node.value, None

    def _call(self, node: ast.Call) -> Iterator[tuple[ast.expr, ast.expr | None]]:
        name = _name(node.func)
        keywords = {each.arg: each.value for each in node.keywords}
        if name == "fail_json" and "msg" in keywords:
            yield keywords["msg"], None
        elif name == "missing" and len(node.args) == 3:
            yield _keyed(node.args[1], ast.Constant("missing")), node.args[2]
        elif (
            name == "append" and isinstance(node.func, ast.Attribute) and _name(node.func.value) in LISTS and node.args
        ):
            if _is_text(node.args[0]):
                yield node.args[0], None
        elif name in FINDINGS and len(node.args) > max(FINDINGS[name]):
            problem, remedy = (node.args[index] for index in FINDINGS[name])
            yield (_keyed(node.args[KEYED[name]], problem) if name in KEYED else problem), remedy

    def texts(self, node: ast.expr, local: Assigned, depth: int = 0) -> list[str]:
        """The texts that an expression may be, with a placeholder for what is only known in a run."""
        if isinstance(node, ast.Constant):
            return [str(node.value)]
        if isinstance(node, ast.JoinedStr):
            return combined([self._part(each, local, depth) for each in node.values])
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return combined([self.texts(node.left, local, depth), self.texts(node.right, local, depth)])
        if isinstance(node, ast.IfExp):
            return [*self.texts(node.body, local, depth), *self.texts(node.orelse, local, depth)][:MOST]
        if isinstance(node, ast.Name) and depth < 3:
            values = local.get(node.id) or self.known.get(node.id) or []
            found = [text for each in values if _is_text(each) for text in self.texts(each, local, depth + 1)]
            return list(dict.fromkeys(found))[:MOST] or [placeholder(node.id)]
        if isinstance(node, ast.Call):
            return self._called(node, local, depth)
        return [placeholder(_name(node))]

    def _is_known(self, node: ast.expr) -> bool:
        return _is_text(node) or (isinstance(node, ast.Call) and bool({_name(node.func)} & {*self.functions, "get"}))

    def _part(self, node: ast.expr, local: Assigned, depth: int) -> list[str]:
        if not isinstance(node, ast.FormattedValue):
            return self.texts(node, local, depth)
        value = node.value
        if isinstance(value, ast.Name | ast.IfExp) or self._is_known(value):
            return self.texts(value, local, depth + 1)
        return [placeholder(_name(value))]

    def _called(self, node: ast.Call, local: Assigned, depth: int) -> list[str]:
        name = _name(node.func)
        if name == "did_you_mean":
            return [f"did you mean <{_name(node.args[0])}>?", *self.texts(node.args[2], local, depth)]
        function = self.functions.get(name)
        if function is not None and depth < 3:
            own = self._assigned(list(ast.walk(function)))
            values = [each.value for each in ast.walk(function) if isinstance(each, ast.Return) and each.value]
            found = [text for each in values if self._is_known(each) for text in self.texts(each, own, depth + 1)]
            return list(dict.fromkeys(found)) or [placeholder(name)]
        if isinstance(node.func, ast.Attribute) and name == "get":
            # One of a dictionary's texts, or the default.
            tables = [each for each in self.known.get(_name(node.func.value), []) if isinstance(each, ast.Dict)]
            texts = [each for table in tables for each in (*table.values, *node.args[1:]) if _is_text(each)]
            if texts:
                return list(dict.fromkeys(text for each in texts for text in self.texts(each, local, depth + 1)))
        return [placeholder(_name(node))]


def _is_tuple(node: ast.AST) -> bool:
    return isinstance(node, ast.Tuple)


def _expressions(statement: ast.stmt) -> Iterator[ast.AST]:
    """A statement and what is in it, less the statements in its blocks."""
    waiting: list[ast.AST] = [statement]
    while waiting:
        node = waiting.pop()
        yield node
        waiting += [
            child
            for child in ast.iter_child_nodes(node)
            if not isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case)
        ]


def _blocks(statement: ast.stmt) -> Iterator[list[Any]]:
    for field in ("body", "orelse", "finalbody"):
        yield getattr(statement, field, [])
    for part in (*getattr(statement, "handlers", []), *getattr(statement, "cases", [])):
        yield part.body


def _keyed(key: ast.expr, problem: ast.expr) -> ast.expr:
    """`key: problem`, as a finding is shown."""
    return ast.JoinedStr([ast.FormattedValue(key, -1), ast.Constant(": "), ast.FormattedValue(problem, -1)])


def _name(node: ast.AST | None) -> str:
    """What an expression is called: the last name in it that says something."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Subscript):
        key = node.slice
        if isinstance(key, ast.Name):
            return key.id
        return key.value if isinstance(key, ast.Constant) and isinstance(key.value, str) else _name(node.value)
    if isinstance(node, ast.Call):
        # `', '.join(names)`, `sorted(names)` and `str(error)` are called after what they are made from.
        inner = next((_name(each) for each in node.args if _name(each)), "")
        if isinstance(node.func, ast.Attribute) and not inner:
            return _name(node.func.value) or node.func.attr
        return inner or _name(node.func)
    if isinstance(node, ast.BoolOp):
        return _name(node.values[0])
    if isinstance(node, ast.BinOp):
        return _name(node.left)
    if isinstance(node, ast.GeneratorExp | ast.ListComp | ast.SetComp):
        return _name(node.generators[0].iter)
    if isinstance(node, ast.Starred):
        return _name(node.value)
    if isinstance(node, ast.List | ast.Tuple):
        return next((_name(each) for each in node.elts if _name(each)), "")
    return ""


def _is_text(node: ast.AST) -> bool:
    """Whether an expression is written as a text in the code."""
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str)
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, ast.Add) and (_is_text(node.left) or _is_text(node.right))
    if isinstance(node, ast.IfExp):
        return _is_text(node.body) or _is_text(node.orelse)
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Call) and _name(node.func) == "did_you_mean")


def template_texts(source: str) -> list[str]:
    """The texts that a Jinja template may be."""
    return [" ".join(text.split()) for text in _rendered(jinja2.Environment().parse(source))]


def _rendered(node: nodes.Node) -> list[str]:
    if isinstance(node, nodes.TemplateData):
        return [node.data]
    if isinstance(node, nodes.Const):
        return [str(node.value)]
    if isinstance(node, nodes.Template | nodes.For):
        return combined([_rendered(each) for each in node.body])
    if isinstance(node, nodes.If):
        branches = [node.body, *[each.body for each in node.elif_], node.else_]
        return list(dict.fromkeys(text for body in branches for text in combined([_rendered(each) for each in body])))
    if isinstance(node, nodes.Output):
        return combined([_rendered(each) for each in node.nodes])
    if isinstance(node, nodes.Concat):
        return combined([_rendered(each) for each in node.nodes])
    if isinstance(node, nodes.Add):
        return combined([_rendered(node.left), _rendered(node.right)])
    if isinstance(node, nodes.CondExpr):
        otherwise = _rendered(node.expr2) if node.expr2 else [""]
        return [*_rendered(node.expr1), *otherwise][:MOST]
    if isinstance(node, nodes.Or):
        return [*_rendered(node.left), *_rendered(node.right)][:MOST]
    if isinstance(node, nodes.Assign | nodes.ExprStmt):
        return [""]
    return [placeholder(_jinja_name(node))]


def _jinja_name(node: nodes.Node) -> str:
    if isinstance(node, nodes.Name):
        return node.name
    if isinstance(node, nodes.Getattr):
        return node.attr
    if isinstance(node, nodes.Getitem):
        return (
            str(node.arg.value)
            if isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str)
            else _jinja_name(node.node)
        )
    if isinstance(node, nodes.List):
        return next((_jinja_name(each) for each in node.items if _jinja_name(each)), "")
    if isinstance(node, nodes.Filter | nodes.Call | nodes.Test) and node.node is not None:
        return _jinja_name(node.node)
    return _jinja_name(node.left) if isinstance(node, nodes.BinExpr) else ""


def yaml_messages(data: Any, file: str) -> Iterator[Message]:
    """The messages of tasks, plays and variables of a YAML file."""
    if isinstance(data, list):
        for each in data:
            yield from yaml_messages(each, file)
    if not isinstance(data, dict):
        return
    for key, value in data.items():
        if isinstance(value, dict) and isinstance(key, str):
            module = key.rpartition(".")[2]
            text = value.get({"fail": "msg", "assert": "fail_msg", "wait_for": "msg"}.get(module, ""))
            if isinstance(text, str):
                yield from (Message(each, "", file) for each in template_texts(text))
        elif isinstance(value, str) and isinstance(key, str) and _REASONS.search(key):
            yield from (Message(each, "", file) for each in _reasons(value))
        if key != "when":
            yield from yaml_messages(value, file)


def _reasons(source: str) -> list[str]:
    """The texts that a template appends to a list, or chooses from."""
    tree = jinja2.Environment().parse(source)
    appended = [
        text
        for call in tree.find_all(nodes.Call)
        if isinstance(call.node, nodes.Getattr) and call.node.attr == "append" and call.args
        for text in _rendered(call.args[0])
    ]
    return [" ".join(text.split()) for text in appended or _rendered(tree)]


class _Loader(yaml.SafeLoader):
    """YAML as data; Ansible's own tags are ignored."""


_Loader.add_multi_constructor("!", lambda _loader, _suffix, _node: None)


def collect(root: Path) -> list[Message]:
    """All messages, of which something is known before a run."""
    found: list[Message] = []
    for path in sorted((root / "plugins").rglob("*.py")):
        file = str(path.relative_to(root))
        found += Python(ast.parse(path.read_text(encoding="utf-8")), file).messages()
    patterns = ("*.yml", "playbooks/*.yml", "playbooks/stages/*.yml", "roles/*/tasks/*.yml", "roles/*/vars/*.yml")
    for path in sorted(path for pattern in patterns for path in root.glob(pattern)):
        found += yaml_messages(yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader), str(path.relative_to(root)))
    return [each for each in found if len(_WORD.findall(_PLACEHOLDER.sub("", each.text))) > (not each.remedy)]


def stage_of(file: str) -> str:
    """The title of the stage that a file belongs to."""
    topic = _TOPIC.sub("", file, count=1)
    return next(title for title, begins in STAGES if topic.startswith(begins))


def markdown(messages: list[Message]) -> str:
    """The messages by stage, each once, in a table where what to do is said apart."""
    parts = []
    for title, _begins in STAGES:
        own = sorted({(each.text, each.remedy) for each in messages if stage_of(each.file) == title})
        listed = [text for text, remedy in own if not remedy]
        rows: dict[str, list[str]] = {}
        for text, remedy in own:
            if remedy:
                rows.setdefault(text, []).append(remedy)
        lines = [f"## {title}", ""]
        if rows:
            lines += ["| message | what to do |", "|---|---|"]
            lines += [f"| {cell(text)} | {cell('; or '.join(remedies))} |" for text, remedies in rows.items()]
            lines += [""]
        lines += [f"- {cell(text)}" for text in listed]
        if own:
            parts.append("\n".join(lines).rstrip())
    return "\n\n".join(parts)


def cell(text: str) -> str:
    """A text as Markdown shows it as it is: no HTML, no bars, no emphasis."""
    escaped = "".join(
        part if part.startswith("`") else re.sub(r"([<*])", r"\\\1", part) for part in re.split(r"(`[^`]*`)", text)
    )
    return escaped.replace("|", "\\|")


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Renew the page, or say that it is out of date; 1 if it is."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.troubleshooting", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--check", action="store_true", help="write nothing; fail when the page is out of date")
    path = root / PAGE
    now = path.read_text(encoding="utf-8")
    new = renewed(now, markdown(collect(root)), BEGIN, END)
    if parser.parse_args(arguments).check:
        if new != now:
            print(f"{PAGE}: out of date; run: python -m tools.troubleshooting", file=sys.stderr)
        return int(new != now)
    path.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
