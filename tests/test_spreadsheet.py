"""Texts of users never reach a spreadsheet as formulas, and are read back as they were."""

import pytest

from haemsa_jax.spreadsheet import original, safe_cell


@pytest.mark.parametrize(
    "text", ["=1+1", "+cmd", "-2+3", "@SUM(A1)", "\t=1", "\rx", "'=1", "''=1", "＝1"]  # noqa: RUF001
)  # fmt: skip
def test_formulas_get_a_quote_that_is_taken_off_again(text):
    assert safe_cell(text) == f"'{text}"
    assert original(safe_cell(text)) == text


@pytest.mark.parametrize("value", ["", "fine", "a=b", "'tis", "'", "-5", "'-5", "+.5e3", -5, -0.5])
def test_everything_else_stays(value):
    assert safe_cell(value) == value
    assert original(str(value)) == str(value)
