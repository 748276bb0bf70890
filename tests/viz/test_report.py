import math
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from tessflow import TabularFlow
from tessflow.tables import TableWarning
from tessflow.viz.report import write_report
from tessflow.viz.report.sections import likelihood_section

SECTIONS = ["fitted", "schema", "training", "likelihood", "comparison", "cells", "surprises"]
ROWS = 160


class Page(HTMLParser):
    """A page, read: its tags with attributes, its words, and whether tags are closed as they were opened."""

    def __init__(self, text):
        super().__init__()
        self.source, self.tags, self.open, self.words = text, [], [], []
        self.feed(text)
        self.close()
        assert self.open == []
        self.text = " ".join("".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.words.append(data)

    def count(self, tag):
        return sum(name == tag for name, _ in self.tags)


def report(model, path, table=None, **options):
    return Page(write_report(model, path / "report.html", table=table, **options).read_text(encoding="utf-8"))


def fitted(table, **options):
    options = {"hidden_features": (16,), "max_steps": 3, "random_state": 0} | options
    return TabularFlow(**options).fit(table)


def mixed_table(rows=ROWS):
    rng = np.random.default_rng(0)
    kind = rng.choice(["oak", "elm", "ash"], rows)
    height = rng.normal(10, 2, rows) + 5 * (kind == "oak")
    return pd.DataFrame(
        {
            "kind": kind,
            "height": np.where(rng.random(rows) < 0.2, np.nan, height),
            "fruit": np.where(rng.random(rows) < 0.5, 0, rng.integers(1, 1000, rows)),
            "date": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, rows), unit="D"),
            "sick": pd.array(np.where(rng.random(rows) < 0.1, None, rng.random(rows) < 0.5), dtype="boolean"),
        },
        index=[f"tree {i}" for i in range(rows)],
    )


@pytest.fixture(scope="module")
def mixed():
    return fitted(mixed_table(), max_steps=30)


def tables():
    rng = np.random.default_rng(1)
    times = pd.Timestamp("2024-03-31", tz="Europe/Berlin") + pd.to_timedelta(rng.integers(0, 9000, ROWS), unit="s")
    return {
        "mixed": mixed_table(),
        "classes": pd.DataFrame({name: rng.choice(["a", "b", "c"], ROWS) for name in "xyz"}),
        "numbers": pd.DataFrame({name: rng.normal(0, 10**i, ROWS) for i, name in enumerate("xyz")}),
        "one column of classes": pd.DataFrame({"x": rng.choice(["a", "b"], ROWS)}),
        "one column of numbers": pd.DataFrame({"x": rng.lognormal(0, 3, ROWS)}),
        "times": pd.DataFrame({"at": times, "after": pd.to_timedelta(rng.integers(0, 10**6, ROWS), unit="ms")}),
        "constants": pd.DataFrame({"x": ["a"] * ROWS, "y": [None] * ROWS, "z": rng.normal(size=ROWS)}),
        "infinities": pd.DataFrame({"x": np.where(rng.random(ROWS) < 0.2, -np.inf, rng.normal(size=ROWS))}),
        "huge numbers": pd.DataFrame({"x": rng.normal(size=ROWS) * 1e300, "y": rng.normal(size=ROWS) * 1e-300}),
        "only missing": pd.DataFrame({"x": np.full(ROWS, np.nan), "y": pd.array([None] * ROWS, dtype="Int64")}),
        "few numbers": pd.DataFrame({"score": rng.integers(1, 6, ROWS), "year": rng.integers(2007, 2010, ROWS)}),
        "single values": pd.DataFrame(
            {
                "x": np.where(rng.random(ROWS) < 0.5, 0, rng.lognormal(0, 1, ROWS)),
                "at": times.where(rng.random(ROWS) < 0.7, times[0]),
                "far": np.where(rng.random(ROWS) < 0.2, -999, rng.integers(20, 80, ROWS)),
            }
        ),
        "three rows": pd.DataFrame({"x": [1.5, 2.25, 3.125], "y": ["a", "b", "a"]}),
        "one row": pd.DataFrame({"x": ["a"]}),
        "array": rng.normal(size=(ROWS, 2)),
        "array of strings": rng.choice(np.array(["a", "b"]), (ROWS, 3)),
    }


MODELS = {
    "any order": {"order": "any"},
    "one order": {"order": "fixed", "dimension": 1},
    "coupling": {"backbone": "coupling", "layers": 2},
    "bound in the plane": {"order": "any", "dimension": 2, "condition_on": "point", "scaling": "standard"},
}


SOME = ("mixed", "classes", "numbers", "one row")


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind in tables() for name in MODELS if kind in SOME or name == "any order"]
)
def test_every_table_and_model_has_a_page_of_seven_sections(kind, name, tmp_path):
    table, options = tables()[kind], MODELS[name]
    model = fitted(table, **options)
    page = report(model, tmp_path, table, rows=60)
    assert [attributes["id"] for tag, attributes in page.tags if tag == "section"] == SECTIONS
    # All columns, and the words for what lacks, are there.
    names = table.columns if isinstance(table, pd.DataFrame) else range(table.shape[1])
    assert all(page.source.count(f'<th scope="row">{name}</th>') for name in names)
    assert ("This model does not say which columns" in page.text) == (not model.has_conditionals_)
    assert ("said by a model of any order" in page.text) == (options.get("order") == "fixed")
    assert ("lower bound" in page.text) == model.lower_bound_
    assert ("need a table of at least 4 rows" in page.text) == (len(table) < 4)


def test_page_needs_nothing_else(mixed, tmp_path):
    page = report(mixed, tmp_path, mixed_table())
    assert not {"script", "link", "img", "iframe", "object", "base", "form"} & {tag for tag, _ in page.tags}
    targets = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    for tag, attributes in page.tags:
        assert not {"src", "srcset", "action", "xlink:href"} & attributes.keys()
        assert not any(name.startswith("on") for name in attributes)
        if "href" in attributes:
            assert tag == "a"
            assert attributes["href"].removeprefix("#") in targets
    assert not any(word in page.source for word in ("http:", "https:", "//", "@import", "url("))
    assert len(page.source) < 300_000


def test_pictures_and_tables_are_for_all_readers(mixed, tmp_path):
    page = report(mixed, tmp_path, mixed_table())
    pictures = [attributes for tag, attributes in page.tags if tag == "svg"]
    # History, five columns, three heat maps, cells of kind and sick.
    assert len(pictures) == 1 + 5 + 3 + 2
    assert all(attributes["role"] == "img" for attributes in pictures)
    assert page.source.count("<svg") == page.source.count('role="img"')
    assert page.count("title") > len(pictures)
    assert page.count("h1") == 1
    assert page.count("h2") == 7
    boxes = [attributes for tag, attributes in page.tags if attributes.get("class") == "scroll"]
    assert len(boxes) == page.count("table")
    assert all(attributes["tabindex"] == "0" and attributes["aria-label"] for attributes in boxes)


def test_numbers_are_those_of_the_model(mixed, tmp_path):
    table = mixed_table()
    page, scores = report(mixed, tmp_path, table), mixed.score_samples(table)
    assert f"{mixed.validation_score_:.3f} nats a row ({mixed.validation_score_ / math.log(2):.3f} bits)" in page.text
    assert f"On all {ROWS} rows tessflow has {scores.mean():.3f} nats." in page.text
    assert f"{sum(p.numel() for p in mixed.model_.parameters()):,}" in page.text
    for i in np.argsort(scores)[:10]:
        assert f"Row tree {i}: {scores[i]:.3f} nats" in page.text
    assert page.text.count("Row tree") == 10
    missing = table["height"].isna().mean()
    assert f"Missing: {missing:.1%} of real rows" in page.text


def test_most_surprising_value_is_named_with_what_was_likely(tmp_path):
    rng = np.random.default_rng(0)
    coat = rng.choice(["wool", "silk"], 400)
    table = pd.DataFrame({"coat": coat, "season": np.where(coat == "wool", "winter", "summer")})
    model = fitted(table, max_steps=300, learning_rate=1e-2)
    odd = pd.concat([table.head(20), pd.DataFrame({"coat": ["wool"], "season": ["summer"]}, index=["odd"])])
    page = report(model, tmp_path, odd)
    first = page.text.split("Row odd:")[1].split("Row ")[0]
    surprise = (model.score_columns(odd).mean() - model.score_columns(odd).loc["odd"])["season"]
    assert f"season is summer: {surprise:.2f} nats below the column's mean. Likely: winter (" in first
    assert page.text.index("Row odd:") < page.text.index("Row 0:")


def test_a_good_model_is_ahead_of_the_baselines_where_columns_depend(tmp_path):
    rng = np.random.default_rng(0)
    kind = rng.choice(["oak", "ash"], 2000)
    table = pd.DataFrame({"kind": kind, "tall": np.where(rng.random(2000) < 0.95, kind == "oak", kind == "ash")})
    page = report(fitted(table, max_steps=300), tmp_path, table)
    ahead = page.source.split('<th scope="row">independent columns</th>')[1].split("</tr>")[0]
    gap, error = (float(number) for number in ahead.split('<td class="figure">')[3].removesuffix("</td>").split(" ± "))
    exact = math.log(2) + 0.95 * math.log(0.95) + 0.05 * math.log(0.05)
    assert abs(gap - exact) < 4 * error + 0.03


def test_names_and_values_are_escaped(tmp_path):
    hostile = ["<script>alert(1)</script>", '"><script src="//evil">', "</svg></title><b>", "{{ 7 * 7 }}", "&amp;"]
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            hostile[0]: rng.choice(hostile, ROWS),
            hostile[1]: rng.normal(size=ROWS),
            "a&b": rng.choice(["<i>", None], ROWS),
        },
        index=[f"<u>{i}</u>" for i in range(ROWS)],
    )
    for number, options in enumerate(MODELS.values()):
        page = report(fitted(table, **options), tmp_path / str(number), table)
        assert not {"script", "b", "i", "u"} & {tag for tag, _ in page.tags}
        assert all(word in page.text for word in (*hostile[:4], "&amp;", "<i>", "<u>", "a&b"))
        assert "{{ 7 * 7 }}" in page.source  # and not 49


def test_without_a_table_only_what_the_model_knows_is_shown(mixed, tmp_path):
    page = report(mixed, tmp_path, rows=50)
    assert page.text.count("needs real rows: give the report a table.") == 3
    assert "real rows, " not in page.text
    assert "50 rows drawn from it" in page.text
    assert page.count("svg") == 1 + 5 + 1 + 2
    assert "Row tree" not in page.text


def test_the_thirty_columns_that_differ_most_are_drawn(tmp_path):
    rng = np.random.default_rng(0)
    table = pd.DataFrame({f"c{i}": rng.normal(size=60) if i % 2 else rng.choice(list("abc"), 60) for i in range(60)})
    model = fitted(table)
    page = report(model, tmp_path, table.assign(c7=table["c7"] + 100), rows=60)
    assert "Of 60 columns these are the 30 in which real and drawn rows differ most beyond chance." in page.text
    assert "Of 30 columns of classes these are the 12 with the most classes." in page.text
    assert page.count("svg") == 1 + 30 + 3 + 12
    assert page.source.split('id="comparison"')[1].split("<h3>")[1].startswith("c7<")
    assert len(page.source) < 1_500_000
    assert "these are the first 30." in report(model, tmp_path, rows=60).text


def test_a_seed_gives_the_same_page_again_and_another_another(mixed, tmp_path):
    table = mixed_table()
    first, again, other = (report(mixed, tmp_path, table, rows=50, seed=seed).source for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert "50 rows chosen at random from the 160" in first


def test_a_loaded_model_has_the_same_page_but_for_a_lost_history(mixed, tmp_path):
    mixed.save(tmp_path / "model")
    page = report(mixed, tmp_path, mixed_table()).source
    assert report(TabularFlow.load(tmp_path / "model"), tmp_path, mixed_table()).source == page
    (tmp_path / "model" / "history.csv").unlink()
    assert "The training history is not there." in report(TabularFlow.load(tmp_path / "model"), tmp_path).text


def test_a_column_of_too_many_classes_has_neither_cells_nor_probabilities(tmp_path):
    table = pd.DataFrame({"id": [f"id {i % 40}" for i in range(200)], "y": ["a", "b"] * 100})
    page = report(fitted(table, max_categories=20), tmp_path, table)
    cells = page.source.split('id="cells"')[1].split("</section>")[0]
    assert "<h3>y</h3>" in cells
    assert "<h3>id</h3>" not in cells
    assert "Row " in page.text


def with_news(rows=ROWS):
    """Rows of the mixed table, some of which hold what that does not."""
    table = mixed_table(rows)
    table.loc["tree 3", "kind"] = "yew"
    table.loc["tree 4", ["kind", "date"]] = ["fir", pd.NaT]
    table.loc["tree 5", "fruit"] = -1
    return table


def test_what_was_not_seen_is_named_and_likelihoods_are_given_both_ways(mixed, tmp_path):
    table = with_news()
    page, scores = report(mixed, tmp_path, table), mixed.score_samples(table)
    unseen = mixed.find_unseen(table)
    assert unseen.to_numpy().sum() == 4
    rest = scores[~unseen.any(axis=1)].mean()
    assert f"On all {ROWS} rows tessflow has {scores.mean():.3f} nats." in page.text
    assert f"3 rows ({3 / ROWS:.1%}) hold something that was not seen in training." in page.text
    assert f"On all other rows tessflow has {rest:.3f} nats." in page.text
    for words in ("kind: yew, fir in 2 rows", "fruit: -1 in 1 row", "date: missing in 1 row"):
        assert words in page.text
    # Rows hold their own values, of which it is said that they are new.
    words = page.text.split("Row tree 4:")[1].split("Row tree")[0]
    assert "kind is fir (not seen in training)" in words
    assert f"Unseen: {1 / ROWS:.1%} of real rows, 0.0% of drawn rows" in page.text
    whole = page.text.split("The whole rows")[1]
    assert "fir (not seen in training)" in whole
    assert "missing (not seen in training)" in whole
    known = report(mixed, tmp_path, mixed_table())
    assert "All of their values were seen in training." in known.text
    assert "Unseen:" not in known.text


def test_baselines_are_compared_on_rows_with_nothing_unseen_as_well(mixed, tmp_path):
    table, columns = with_news(), mixed.schema_
    scores, unseen = mixed.score_samples(table), mixed.find_unseen(table).any(axis=1).to_numpy()
    found = likelihood_section(columns, columns.encode(table), scores, unseen, None, np.random.default_rng(3))
    half = np.random.default_rng(3).permutation(ROWS)[ROWS // 2 :]
    assert found.unseen_rows == unseen[half].sum() > 0
    assert found.scores[0].mean == pytest.approx(scores[half].mean())
    assert found.scores[0].seen == pytest.approx(scores[half][~unseen[half]].mean())
    assert all(np.isfinite([score.mean, score.seen]).all() and score.mean != score.seen for score in found.scores)
    page = report(mixed, tmp_path, pd.concat([table, table]))
    assert "rows hold something unseen." in page.text
    assert "nats, rows with nothing unseen" in page.text
    assert "rows with nothing unseen" not in report(mixed, tmp_path, mixed_table()).text


def test_many_unseen_values_are_warned_of_once_or_refused(mixed, tmp_path):
    table = mixed_table().assign(kind="yew")
    with pytest.warns(TableWarning, match="column 'kind' holds something not seen in training in 100%") as caught:
        page = report(mixed, tmp_path, table)
    assert len(caught) == 1
    assert f"{ROWS} rows (100.0%) hold something" in page.text
    assert "On all other rows" not in page.text
    strict = fitted(mixed_table(), unseen="error")
    with pytest.raises(ValueError, match=r"column 'kind' has in row 3 .* the value 'yew', which was not seen"):
        report(strict, tmp_path, with_news())


def test_the_table_of_columns_says_what_is_known_of_them(tmp_path):
    rng = np.random.default_rng(0)
    zone = "Europe/Berlin"
    table = pd.DataFrame(
        {
            "name": [f"row {i}" for i in range(ROWS)],
            "price": np.where(rng.random(ROWS) < 0.3, 0, rng.gamma(1, 9, ROWS).round(2)),
            "share": rng.random(ROWS),
            "start": pd.Timestamp("2024-01-01", tz=zone) + pd.to_timedelta(rng.integers(0, 99, ROWS), unit="h"),
        }
    )
    table.loc[:50, "start"] = pd.Timestamp("2024-01-02 07:00", tz=zone)
    table["end"] = table["start"] + pd.to_timedelta(rng.integers(0, 99, ROWS), unit="h")
    schema = tmp_path / "schema.yaml"
    schema.write_text(f"""
columns:
- {{name: name, kind: key}}
- {{name: price, kind: number, resolution: 0.01, atoms: [0], minimum: 0, beyond: unseen}}
- {{name: share, kind: number, minimum: 0, maximum: 1, scaling: standard}}
- {{name: start, kind: datetime, resolution: 3600, atoms: [{table["start"][0].timestamp():.0f}]}}
- {{name: end, kind: datetime, resolution: 3600}}
order: [start <= end]
""")
    model = TabularFlow(max_steps=3, hidden_features=(16,), random_state=0).fit(table, schema=schema)
    page = report(model, tmp_path, table)
    columns = page.source.split('id="schema"')[1].split("</section>")[0]
    cells = {row.split("<")[0]: row for row in columns.split('<th scope="row">')}
    assert "<td>probabilities of steps of 0.01</td>" in cells["price"]
    assert '<td>0</td><td class="wide">at least 0; what is beyond is unseen</td>' in cells["price"]
    assert "at least 0 and at most 1; what is beyond is refused" in cells["share"]
    assert "<td>2024-01-02 07:00:00+01:00</td>" in cells["start"]
    assert "<td>key</td><td>not modelled</td>" in cells["name"]
    assert "a standard deviation on either side" in cells["share"]
    assert "90% between" in cells["price"]
    assert "Scaling of numbersquantile, standard" in page.text
    assert "start ≤ end" in page.text
    assert "4, 4 of them numeric; 1 more not modelled" in page.text
    whole = page.source.split("The whole rows")[1]
    assert '<th scope="col">name</th>' in whole
    assert ">row 1" in whole


def test_what_makes_no_report_is_refused(mixed, tmp_path):
    with pytest.raises(ValueError, match="rows must be at least 1, got 0"):
        report(mixed, tmp_path, rows=0)
    with pytest.raises(ValueError, match="the table of the report has no rows"):
        report(mixed, tmp_path, mixed_table().head(0))
    with pytest.raises(ValueError, match="1 missing: 'kind'"):
        report(mixed, tmp_path, mixed_table().drop(columns="kind"))
    assert not (tmp_path / "report.html").exists()
