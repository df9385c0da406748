#!/usr/bin/env python3
"""The structure that docs/architecture.md promises: one-way layers, bounded lengths, no #if where it does not belong.

    scripts/lint_structure.py [ROOT]

Prints one line a finding, exit status 1 where there is one. Standard library only."""
import re
import sys
from pathlib import Path

MAX_FUNCTION, MAX_KERNEL, MAX_FILE, MAX_MODEL = 80, 120, 600, 150
SOURCES = {".cpp", ".h", ".inc", ".cu", ".cuh"}
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.M)
CONDITIONAL = re.compile(r"^\s*#\s*(if|ifdef|ifndef|elif|else)\b")
# A definition begins at the margin or in a namespace, never with one of these.
NOT_A_FUNCTION = re.compile(r"^\s*(namespace|class|struct|enum|union|extern|using|typedef|#|//|static_assert)\b")


def layers(root):
    """{folder: folders it may include}; a cycle or an unknown name is an error."""
    table = {}
    for line in (root / "src/layers.txt").read_text().splitlines():
        line = line.partition("#")[0].strip()
        if line:
            name, _, allowed = line.partition(":")
            table[name.strip()] = set(allowed.split())
    for name, allowed in table.items():
        for other in allowed:
            if other not in table:
                yield_error(f"src/layers.txt: {name} may include {other}, which is no folder of the table")
            elif name in table[other]:
                yield_error(f"src/layers.txt: {name} and {other} may include each other")
    seen = set()

    def visit(name, path):
        if name in path:
            yield_error(f"src/layers.txt: cycle {' -> '.join([*path, name])}")
        elif name not in seen:
            for other in table.get(name, ()):
                visit(other, [*path, name])
            seen.add(name)
    for name in table:
        visit(name, [])
    return table


ERRORS = []


def yield_error(text):
    ERRORS.append(text)


def check_includes(path, folder, text, table):
    for included in INCLUDE.findall(text):
        target = included.split("/")[0]
        if "/" not in included:
            yield_error(f"{path}: includes \"{included}\" without its folder")
        elif target == "quire":
            continue                      # the public headers
        elif target not in table:
            yield_error(f"{path}: includes {included}, whose folder is not in src/layers.txt")
        elif target != folder and target not in table[folder]:
            yield_error(f"{path}: {folder} may not include {included} (src/layers.txt)")


def strip(text):
    """The text with comments, strings and raw strings blanked, line structure kept."""
    pattern = re.compile(r'//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)
    return pattern.sub(lambda m: re.sub(r"[^\n]", " ", m.group(0)), text)


def function_lengths(text):
    """(first line, lines) of each function body: a brace that follows ')' or a trailing specifier."""
    code = strip(text)
    line, stack, statement, opened = 1, [], "", 1
    for char in code:
        if char == "\n":
            line += 1
        if char == "{":
            head = statement.strip()
            body = bool(re.search(r"\)\s*(const|noexcept|override|final|mutable|->[^;{]*|:[^;{]*|\s)*$", head))
            named = not re.match(r"(namespace|class|struct|enum|union|extern)\b", head)
            stack.append((opened if statement.strip() else line, body and named))
            statement = ""
        elif char == "}":
            if stack:
                first, is_function = stack.pop()
                if is_function and not any(inner for _, inner in stack):
                    yield first, line - first + 1
            statement = ""
        elif char == ";":
            statement = ""
        else:
            if not statement.strip() and not char.isspace():
                opened = line
            statement += char


def check_file(path, root, table):
    relative = path.relative_to(root)
    text = path.read_text(encoding="utf-8")
    lines = text.count("\n")
    parts = relative.parts
    if lines > MAX_FILE:
        yield_error(f"{relative}: {lines} lines, at most {MAX_FILE}")
    if parts[:2] == ("src", "models") and path.name == "llama.cpp" and lines > MAX_MODEL:
        yield_error(f"{relative}: {lines} lines, a model family has at most {MAX_MODEL}")
    limit = MAX_KERNEL if "kernels" in str(relative) or path.suffix == ".inc" else MAX_FUNCTION
    for first, length in function_lengths(text):
        if length > limit:
            yield_error(f"{relative}:{first}: a function of {length} lines, at most {limit}")
    if parts[0] != "src":
        return
    folder = parts[1]
    if folder not in table:
        yield_error(f"{relative}: the folder {folder} is not in src/layers.txt")
        return
    if not path.name.endswith("_test.cpp"):
        check_includes(relative, folder, text, table)
    if folder != "backend" and relative.as_posix() != "src/base/check.h":
        for number, line in enumerate(text.splitlines(), 1):
            if CONDITIONAL.match(line):
                yield_error(f"{relative}:{number}: #if outside of backend/ and base/check.h")


def main():
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent)
    table = layers(root)
    count = 0
    for top in ("src", "include", "tests", "benchmarks", "fuzz"):
        for path in sorted((root / top).rglob("*")):
            if path.suffix in SOURCES and path.is_file():
                count += 1
                check_file(path, root, table)
    for error in ERRORS:
        print(error)
    print(f"structure: {count} files, {len(ERRORS)} findings")
    return 1 if ERRORS else 0


if __name__ == "__main__":
    sys.exit(main())
