"""Cells of CSV files that no spreadsheet takes for formulas.

A text that begins with `=`, `+`, `-`, `@`, a tab or a line break, and is no number, is written with
a leading `'`, as OWASP advises ("CSV Injection"). So is one in which such a beginning stands behind
quotes, so that `original` knows which quote to take off again.
"""

STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001
QUOTE = "'"


def safe_cell(value: str | float) -> str | float:
    """What to write for a value: numbers, and texts of numbers, as they are."""
    if isinstance(value, str) and _is_formula(value.lstrip(QUOTE)):
        return QUOTE + value
    return value


def original(cell: str) -> str:
    """The text that `safe_cell` made a cell of."""
    if cell.startswith(QUOTE) and _is_formula(cell.lstrip(QUOTE)):
        return cell.removeprefix(QUOTE)
    return cell


def _is_formula(text: str) -> bool:
    if not text.startswith(STARTS):
        return False
    try:
        float(text)
    except ValueError:
        return True
    return False
