"""CSV files: rows that cannot be read are reported, and cost no other."""

import pytest

from haemsa_jax.csv_rows import MOST_LINES, read_named, read_rows
from haemsa_jax.errors import InputError


def named(tmp_path, content):
    path = tmp_path / "a.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    _, rows = read_named(path)
    rows = list(rows)
    good = {row.line: list(cells.values()) for row, cells in rows if not row.error}
    return good, {row.line: row.error for row, _ in rows if row.error}


@pytest.mark.parametrize(
    "content",
    [
        b'id,text\na,"he ""said"", so"\nb,5" pipe\n',
        b'\xef\xbb\xbfid,text\r\na,"he ""said"", so"\r\n\r\nb,5" pipe',
        b'id,text\ra,"he ""said"", so"\rb,5" pipe\r',
    ],
    ids=["plain", "with mark", "carriage returns"],
)
def test_rows(tmp_path, content):
    good, bad = named(tmp_path, content)
    assert list(good.values()) == [["a", 'he "said", so'], ["b", '5" pipe']] and not bad


@pytest.mark.parametrize(
    ("rows", "bad_lines"),
    [
        ('a,"he said\nb,fine\nc,fine too\n', [2]),  # never closed
        ('a,"he said\nb,"fine"\nc,fine too\n', [2]),  # the next quote opens
        ('a,"he said" so\nb,fine\nc,fine too\n', [2]),
        ('a,"he said\nb,fine\n,c,"so"\nc,fine too\n', [2, 4]),
        ("a,b,c\nb,fine\nshort\nc,fine too\n", [2, 4]),
        (b"a,caf\xe9\nb,fine\nc,fine too\n", [2]),
        (b"a,\0\nb,fine\nc,fine too\n", [2]),
    ],
)
def test_a_bad_row_costs_no_other(tmp_path, rows, bad_lines):
    head = b"id,text\n" if isinstance(rows, bytes) else "id,text\n"
    good, bad = named(tmp_path, head + rows)
    assert list(good.values()) == [["b", "fine"], ["c", "fine too"]]
    assert list(bad) == bad_lines and all(bad.values())


def test_a_quote_that_closes_rows_later(tmp_path):
    good, bad = named(tmp_path, 'id,text\na,"he said\nb,fine\nc,too"\nd,last\n')
    assert good == {5: ["d", "last"]}
    assert "closed on line 4, and what lies in between looks like rows" in bad[2]


def test_a_cell_with_line_breaks_that_are_no_rows(tmp_path):
    good, bad = named(tmp_path, 'id,text,label\na,"Who made this?\nWell, we\n",1\nb,fine,2\n')
    assert good == {2: ["a", "Who made this?\nWell, we\n", "1"], 5: ["b", "fine", "2"]}
    assert not bad


def test_many_open_quotes_are_read_in_little_time(tmp_path):
    text = 'a,"open\n' + "b\n" * (2 * MOST_LINES)
    good, bad = named(tmp_path, "id,text\n" + text * 50)
    assert not good and len(bad) == 50 * (2 * MOST_LINES + 1)


def test_cells_may_be_long(tmp_path):
    good, _ = named(tmp_path, "id,text\na," + "x" * 200_000)
    assert len(good[2][1]) == 200_000


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,text,id\n", "column 'id' is there twice"),
        ('id,"text\na,b\n', "line 1: a quote opens here and is not closed"),
        ("id,text\na,b".encode("utf-16"), "line 1: it holds a NUL byte, as UTF-16"),
        (b"id,caf\xe9\n", "line 1: it is not UTF-8"),
    ],
)
def test_names_that_cannot_be_read(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        named(tmp_path, content)


def test_quotes_of_our_own_files_are_right(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('id,text\na,"he said\nb,fine\nc,too"\n')
    _, row = read_rows(path, trusted=True)
    assert row.cells == ["a", "he said\nb,fine\nc,too"]
