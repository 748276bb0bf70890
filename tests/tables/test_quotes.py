"""A quotation mark that is not closed is refused with its line, in every way that a CSV file is read."""

import gzip

import pytest

from tessflow.tables import read_batches, read_table

READERS = {"whole": read_table, "in batches": lambda path: list(read_batches(path, rows=2))}

OPEN = {
    "the last column": ('a,b\nx,1\ny,"hello\nz,2\n', 3),
    "a column before": ('a,b\n"x,1\ny,2\nz,3\n', 2),
    "closed by the next": ('a,b\nx,"hello\ny,"2"\nz,"3"\n', 2),
    "behind one of several lines": ('a,b\nx,"one\ntwo"\ny,"three\nz,4\n', 4),
    "the header": ('"a,b\nx,1\n', 1),
    "more than a block": ('a,b\nx,"hello\n' + "y,2\n" * 2**22 + '"z",3\n', 2),
}

CUT = {
    "in the last value": ('a,b\nx,1\ny,"hel', 3),
    "in the first row": ('a,b\nx,"hel', 2),
    "before its first letter": ('a,b\nx,1\ny,"', 3),
    "in a number": ('a,b\nx,1\ny,"2', 3),
    "behind a doubled one": ('a,b\nx,1\ny,"he""', 3),
    "behind a line break": ('a,b\nx,1\ny,"hel\n', 3),
    "behind a separator": ('a,b\nx,1\ny,"hel,', 3),
    "behind a value of several lines": ('a,b\nx,"one\ntwo"\ny,"hel', 4),
}

CLOSED = {
    "several lines": ('a,b\nx,"one\ntwo"\ny,three\n', ["one\ntwo", "three"]),
    "doubled": ('a,b\nx,"one ""and\n"" two"\ny,three\n', ['one "and\n" two', "three"]),
    "inside a word": ('a,b\nx,5" wide\ny,"one\ntwo"\n', ['5" wide', "one\ntwo"]),
    "long": (f'a,b\nx,"{"one " * 50_000}\ntwo"\ny,three\n', ["one " * 50_000 + "\ntwo", "three"]),
    "text behind one, in one line": ('a,b\nx,"one" two\ny,"three\nfour"\n', ["one two", "three\nfour"]),
}


BREAKS = {"LF": "\n", "CRLF": "\r\n", "CR": "\r"}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS.keys())
@pytest.mark.parametrize("line_break", BREAKS.values(), ids=BREAKS.keys())
@pytest.mark.parametrize(("text", "line"), [*OPEN.values(), *CUT.values()], ids=[*OPEN, *CUT])
def test_one_that_is_not_closed_is_refused_with_its_line(tmp_path, text, line, line_break, read):
    path = tmp_path / "t.csv"
    path.write_text(text, newline=line_break)
    with pytest.raises(ValueError, match=rf"t.csv: the row that begins in line {line} has a quotation mark"):
        read(path)


@pytest.mark.parametrize("last", ["", "\n"], ids=["whole", "without a last line break"])
@pytest.mark.parametrize("line_break", BREAKS.values(), ids=BREAKS.keys())
@pytest.mark.parametrize(("text", "values"), CLOSED.values(), ids=CLOSED.keys())
def test_values_of_several_lines_are_read(tmp_path, text, values, line_break, last):
    path = tmp_path / "t.csv"
    path.write_text(text.removesuffix(last), newline=line_break)
    for read in READERS.values():
        found = read(path)
        frames = found if isinstance(found, list) else [found]
        assert [value for frame in frames for value in frame["b"]] == [
            value.replace("\n", line_break) for value in values
        ]


@pytest.mark.parametrize("read", READERS.values(), ids=READERS.keys())
def test_a_packed_file_that_was_cut_off_before_it_was_packed_is_refused(tmp_path, read):
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b'a,b\nx,1\ny,"hel'))
    with pytest.raises(ValueError, match=r"t.csv.gz: the row that begins in line 3 has a quotation mark"):
        read(path)
