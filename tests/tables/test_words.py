"""Which words of a CSV file are missing, which are strings, and of which a warning tells."""

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from tessflow.tables import TableSchema, TableSource, TableWarning, read_batches, read_table, write_table
from tessflow.tables.readings import MISSING_WORDS

MISSING = sorted(MISSING_WORDS)


@pytest.fixture
def csv(tmp_path):
    def csv(**columns):
        path = tmp_path / "table.csv"
        pd.DataFrame(columns, dtype=object).to_csv(path, index=False)
        return path

    return csv


def declare(text):
    return TableSchema.from_yaml(f"columns:\n- {{name: a, {text}}}\n")


def both(path, **options):
    """The table read whole, which is the same as batch by batch."""
    frame = read_table(path, **options)
    for rows in (2, 100):
        assert_frame_equal(pd.concat(read_batches(path, rows=rows, **options)), frame)
    return frame


@pytest.mark.parametrize("word", MISSING)
def test_a_word_is_missing_beside_numbers_times_and_booleans(csv, word):
    frame = both(
        csv(
            whole=["1", word, "3"],
            real=["1.5", word, "3"],
            wet=["True", word, "False"],
            day=["2024-01-31", word, "2024-02-01"],
            zone=["2024-01-31T00:00Z", word, "2024-02-01 10:00+0100"],
            country=["DE", word, "FR"],
            none=[word, word, word],
        )
    )
    assert [str(dtype) for dtype in frame.dtypes][:5] == [
        "Int64", "float64", "boolean", "datetime64[us]", "datetime64[us, UTC]",
    ]  # fmt: skip
    assert frame.isna().to_numpy().tolist()[1] == [True] * 5 + [False] * 2
    assert frame["country"].tolist() == ["DE", word, "FR"]
    assert frame["none"].tolist() == [word] * 3


def test_other_words_make_strings(csv):
    frame = both(csv(a=["1", "None", "2"], b=["NA", "x", "1"]))
    assert frame["a"].tolist() == ["1", "None", "2"]
    assert frame["b"].tolist() == ["NA", "x", "1"]


@pytest.mark.parametrize("given", ["?", ["?"], ("?", "-")])
def test_words_that_are_given_are_missing_everywhere(csv, given):
    frame = both(csv(n=["1", "?", "3"], name=["x", "?", "NA"], x=["0.5", "1e2", "?"]), na_values=given)
    assert frame.isna().to_numpy().tolist() == [[False, False, False], [True, True, False], [False, False, True]]
    assert frame["n"].tolist()[::2] == [1, 3]
    assert frame["name"].tolist()[2] == "NA"


def test_words_are_words(csv):
    path = csv(a=["1"])
    for read in (read_table, read_batches):
        with pytest.raises(
            TypeError, match="na_values are words, as they stand in the file, got -999: put it in quotes"
        ):
            read(path, na_values=[-999])


def test_what_pandas_read_in_training_is_read_from_a_file(csv):
    words = ["NA", "DE", "None", "FR", ""]
    path = csv(country=words, size=["1", "2", "N/A", "None", "5"], n=["1", "2", "3", "4", "nan"])
    training = pd.read_csv(path)
    schema = TableSchema.infer(training)
    assert (schema.encode(both(path, schema=schema)) == schema.encode(training)).all()
    namibia = TableSchema.infer(pd.DataFrame({"a": ["NA", "DE", None]}))
    frame = both(csv(a=["NA", "NULL", "DE"]), schema=namibia)
    assert frame["a"].isna().tolist() == [False, True, False]
    without = TableSchema.infer(pd.DataFrame({"a": ["DE", "FR"]}))
    namibian = both(csv(a=["DE", "NA"]), schema=without)
    assert without.encode(namibian).tolist() == [[0], [2]]
    with pytest.raises(ValueError, match="the value 'NA', which was not seen in training"):
        without.encode(namibian, unseen="error")


CODES = ["1.10", "007", "1E400", "True", "2024-01-31"]


@pytest.mark.parametrize(
    "text",
    [
        "kind: categorical",
        "kind: ordinal",
        "kind: categorical, dtype: object",
        "kind: ordinal, values: ['007', '1.10', 1E400, 'True', '2024-01-31']",
        "kind: categorical, values: [x]",
    ],
)
def test_a_declared_category_keeps_its_words(csv, text):
    for codes in (CODES, ["1.10", "1.1"], ["007", "7"], ["1E400"]):
        assert both(csv(a=codes), schema=declare(text))["a"].tolist() == codes
    assert both(csv(a=["NA", "1"]), schema=declare("kind: categorical"))["a"].tolist() == ["NA", "1"]


@pytest.mark.parametrize(
    ("text", "words", "values"),
    [
        ("kind: ordinal, values: [1, 2, 3]", ["1", "3"], [1, 3]),
        ("kind: ordinal, dtype: float64", ["1.5", "3"], [1.5, 3]),
        ("kind: number, dtype: int64", ["1", "3"], [1, 3]),
        ("kind: number", ["1", "3"], [1.0, 3.0]),
        ("kind: boolean", ["True", "False"], [True, False]),
        ("kind: categorical, values: [true, false]", ["True", "False"], [True, False]),
    ],
)
def test_declared_numbers_and_booleans_are_read_as_such(csv, text, words, values):
    assert both(csv(a=words), schema=declare(text))["a"].tolist() == values
    assert both(csv(a=[*words, "NA"]), schema=declare(text))["a"].tolist()[:2] == values


def test_declared_durations(csv):
    words = ["P1DT2H", "1 days 02:00:00", "26:00:00", "NaN"]
    frame = both(csv(a=words), schema=declare("kind: timedelta, resolution: 1"))
    assert frame["a"].tolist()[:3] == [pd.Timedelta(hours=26)] * 3
    assert frame["a"].isna().tolist()[3]


def test_integers_of_a_fitted_column_are_exact(csv):
    schema = TableSchema.infer(pd.DataFrame({"a": np.arange(2**59, 2**59 + 100)}))
    assert both(csv(a=[str(2**59 + 1), ""]), schema=schema)["a"].tolist()[0] == 2**59 + 1


def test_1_and_its_word_are_two_columns(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("1,2\n07,08\n")
    two = TableSchema.from_yaml(
        "columns:\n- {name: 1, kind: number}\n- {name: '1', kind: categorical}\n- {name: 2, kind: categorical}\n"
    )
    for schema in (two, TableSchema(columns=two.columns[::-1])):
        assert read_table(path, schema=schema).to_numpy().tolist() == [["07", "08"]]


def test_what_is_too_large_for_a_float_is_a_word(csv):
    frame = both(csv(a=["1e400", "1"], b=["inf", "1"]))
    assert frame["a"].tolist() == ["1e400", "1"]
    assert frame["b"].tolist() == [np.inf, 1]


def numbers(*odd, count=20):
    return [str(n) for n in range(count)] + list(odd)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            numbers("twelve", "1,5"),
            "column 'a' is read as text, because 2 of its 22 words are no numbers: 'twelve' in row 20, '1,5' in row 21 "
            "(counted from 0); mend them, name them as na_values if they stand for missing values, or declare the "
            "column in a schema",
        ),
        (numbers("NA", "x"), "because 1 of its 21 words is no number: 'x' in row 21 (counted from 0)"),
        (numbers(*["?"] * 30), "because 30 of its 50 words are no numbers: '?' in row 20 (counted from 0)"),
        (["1.5"] * 10 + ["x"], "because 1 of its 11 words is no number"),
        ([f"2024-01-{day}" for day in range(10, 30)] + ["2024-02-30"], "is no date: '2024-02-30' in row 20"),
    ],
)
def test_odd_words_are_named(csv, words, sentence):
    path = csv(a=words, b=words)
    for read in (read_table, lambda path: list(read_batches(path, rows=7)), TableSource.read):
        with pytest.warns(TableWarning) as caught:
            read(TableSource(path) if read is TableSource.read else path)
        assert len(caught) == 2
        assert sentence in str(caught[0].message)
        assert "column 'b'" in str(caught[1].message)


@pytest.mark.parametrize(
    "words",
    [
        numbers("x", count=9),
        [*numbers(), "x", "y", "z"],
        numbers("007"),
        numbers(*MISSING),
        ["1,5", "2,5"] * 10,
        ["a"] * 20,
    ],
)
def test_other_columns_are_read_without_a_word(csv, words):
    both(csv(a=words))


@pytest.mark.parametrize(
    ("text", "words", "sentence"),
    [
        ("kind: number", ["1.5", "x", "x"], "2 of its 3 words are no numbers: 'x' in row 1"),
        ("kind: number, resolution: 1", ["1", "007"], "1 of its 2 words is no number: '007' in row 1"),
        ("kind: ordinal, values: [1, 2]", ["1", "two"], "is no number: 'two' in row 1"),
        ("kind: boolean", ["True", "yes"], "is no boolean: 'yes' in row 1"),
        ("kind: categorical, values: [true, false]", ["True", "yes"], "is no boolean: 'yes' in row 1"),
        ("kind: datetime, resolution: 1", ["2024-01-31", "2024-02-30"], "is no date: '2024-02-30' in row 1"),
        ("kind: timedelta, resolution: 1", ["1 day", "long"], "is no duration: 'long' in row 1"),
    ],
)
def test_odd_words_of_a_declared_column_are_named(csv, text, words, sentence):
    path, schema = csv(a=words), declare(text)
    for read in (read_table, lambda path, schema: pd.concat(read_batches(path, schema=schema, rows=1))):
        with pytest.warns(TableWarning) as caught:
            assert read(path, schema=schema)["a"].tolist() == words
        assert len(caught) == 1
        assert sentence in str(caught[0].message)
        assert str(caught[0].message).endswith("mend them, or name them as na_values if they stand for missing values")


@pytest.mark.parametrize(
    "text", ["kind: categorical", "kind: number", "kind: boolean", "kind: datetime, resolution: 1"]
)
def test_a_declared_column_of_other_words_is_read_without_a_word(csv, text):
    assert both(csv(a=["x", "y"] * 9), schema=declare(text))["a"].tolist() == ["x", "y"] * 9


def test_words_that_are_named_make_numbers(csv):
    assert both(csv(a=numbers("x")), na_values="x")["a"].notna().sum() == 20


MIXED = {
    "word": ["a", "b", "?"], "number": ["1.5", "?", "2"], "day": ["?", "2024-01-31", "2024-02-01"],
    "wet": ["True", "False", "?"], "full": ["1", "2", "3"],
}  # fmt: skip


def read_in_batches(path, **options):
    return list(read_batches(path, rows=2, **options))


@pytest.mark.parametrize("read", [read_table, read_in_batches])
def test_a_schema_keeps_the_words_that_were_named(csv, read):
    path = csv(**MIXED)
    plain = TableSchema.infer(pd.DataFrame(read_table(path, na_values="?").to_dict("series")))
    schema = TableSchema.infer(read(path, na_values="?"))
    assert [column.na_values for column in schema.columns] == [("?",)] * 5
    assert [column.model_copy(update={"na_values": ()}) for column in schema.columns] == list(plain.columns)
    for known in (schema, TableSchema.model_validate_json(schema.model_dump_json())):
        assert known == schema
        assert both(path, schema=known).isna().to_numpy().sum() == 4
    declared = TableSchema.from_yaml(schema.to_yaml())
    assert [column.na_values for column in declared.columns] == [("?",)] * 5
    assert declared.fitted(read(path, schema=declared)) == schema


def test_words_are_added_to_those_of_the_schema(csv):
    schema = TableSchema.infer(read_table(csv(**MIXED), na_values="?"))
    path = csv(**{name: [*words, "-"] for name, words in MIXED.items()})
    assert both(path, schema=schema, na_values="-").isna().to_numpy().sum() == 9
    again = schema.fitted(read_table(path, schema=schema, na_values="-").ffill())
    assert [column.na_values for column in again.columns] == [("-", "?")] * 5


def test_words_of_one_column_are_words_of_no_other(csv):
    schema = TableSchema.from_yaml(
        "columns:\n- {name: a, kind: number, na_values: '?'}\n- {name: b, kind: categorical}\n"
    )
    frame = both(csv(a=["?", "1"], b=["?", "1"], c=["?", "1"]), schema=schema)
    assert frame.isna().to_numpy().tolist() == [[True, False, False], [False, False, False]]


def test_a_word_is_either_a_value_or_missing(csv):
    sentence = "column 'a' has 'x' both among its values and among its words for missing values"
    with pytest.raises(ValueError, match=sentence):
        declare("kind: categorical, values: [x, y], na_values: [x]")
    with pytest.raises(ValueError, match=r"column 'a': na_values: .* valid string, got -999"):
        declare("kind: number, na_values: [-999]")
    frame = read_table(csv(a=["x", "y"]), na_values="x")
    with pytest.raises(ValueError, match=sentence):
        declare("kind: categorical, missing: nan, values: [x, y]").fitted(frame)
    filled = TableSchema.infer(frame.fillna("x")).columns[0]  # it is a value after all
    assert (filled.values, filled.na_values) == (("x", "y"), ())


def test_what_is_read_is_written_and_read_again(csv, tmp_path):
    frame = both(csv(n=["1", "NA"], x=["0.5", "nan"], word=["NA", "x"]))
    write_table(frame, tmp_path / "again.csv")
    assert_frame_equal(read_table(tmp_path / "again.csv"), frame)
