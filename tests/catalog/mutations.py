"""Changes of the text of real entries, as slips of the hand or of the mind make them."""

from __future__ import annotations

from pathlib import Path

from hypothesis import strategies as st

PAPERS = Path(__file__).resolve().parents[2] / "papers"

PIECES = st.sampled_from(
    [
        *":-,[]{}#&*!|>'\"%@`?~\\ \n\t",
        "  ", "    ", "\n  ", "\n- ", "- ", ": ", " #", "''", "---\n", "...\n", "%YAML 1.1\n", "%TAG ! x\n",
        "&a ", "*a", "<<: *a", "!!int ", "!!python/object:os.system ", "!x ", "|\n", ">\n", ">+\n", "? ",
        "null", "true", "no", "2:4", "0x1f", "1_000", ".inf", "1e5", "2026-13-01", "12:30:45", "é", "名",
        "\u00a0", "\u2028", "\u202e", "\x00", "\x1b[31m", "\ufeff", "\r", "\x85",
        "key: sun2023simple\n", "builds_on: []\n", "javascript:alert(1)", "x" * 300, "[" * 20, "{a: " * 20,
    ]
)  # fmt: skip


def texts() -> list[str]:
    """The text of every entry of the repository, in the order of the keys."""
    return [file.read_text(encoding="utf-8") for file in sorted(PAPERS.glob("*.yaml"))]


@st.composite
def changed_entries(draw: st.DrawFn, originals: list[str]) -> str:
    """An entry's text after one to four changes; what UTF-8 cannot hold is left out."""
    text = draw(st.sampled_from(originals))
    for _ in range(draw(st.integers(1, 4))):
        lines = text.split("\n")
        number = draw(st.integers(0, len(lines) - 1))
        other = draw(st.integers(0, len(lines) - 1))
        column = draw(st.integers(0, len(lines[number])))
        match draw(st.sampled_from(("delete", "swap", "copy", "insert", "cut", "shift", "erase"))):
            case "delete":
                del lines[number]
            case "swap":
                lines[number], lines[other] = lines[other], lines[number]
            case "copy":
                lines.insert(other, lines[number])
            case "insert":
                piece = draw(st.one_of(PIECES, st.text(max_size=4)))
                lines[number] = lines[number][:column] + piece + lines[number][column:]
            case "cut":
                lines = [*lines[:number], lines[number][:column]]
            case "shift":
                lines[number] = " " * draw(st.integers(0, 9)) + lines[number].lstrip(" ")
            case "erase":
                end = draw(st.integers(column, len(lines[number])))
                lines[number] = lines[number][:column] + lines[number][end:]
        text = "\n".join(lines)
    return text.encode("utf-8", "ignore").decode("utf-8")
