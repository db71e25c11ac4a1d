"""Edits of a formula's text by way of its syntax tree: a part of it taken off, or replaced."""

import ast


def tidy(text: str) -> str:
    """The same formula without superfluous brackets."""
    return ast.unparse(_tree(text))


def split(text: str) -> tuple[str, str]:
    """Both sides of the outermost operation: the last factor or term, and what is before it."""
    operation = _tree(text)
    assert isinstance(operation, ast.BinOp), text
    return ast.unparse(operation.left), ast.unparse(operation.right)


def replaced(text: str, parts: dict[str, str]) -> str:
    """The formula with parts of it replaced, all at once: {part: what stands in its place}."""
    return ast.unparse(_Replacing(parts).visit(_tree(text)))


def _tree(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


class _Replacing(ast.NodeTransformer):
    def __init__(self, parts: dict[str, str]) -> None:
        self.parts = parts

    def visit(self, node: ast.AST) -> ast.AST:
        part = ast.unparse(node) if isinstance(node, ast.expr) else ""
        return _tree(self.parts[part]) if part in self.parts else self.generic_visit(node)
