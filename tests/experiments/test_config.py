"""Tables of experiments: what their files may say, and which runs they stand for."""

import pytest

from experiments.config import TABLES, Table, read_table, table_names

BUDGET = {"steps": 2, "exact_steps": 2}
FIELDS = {
    "name": "tiny",
    "title": "Tiny",
    "task": "discrete",
    "data": {"nursery": {"seeds": 2, "small": BUDGET, "paper": BUDGET}, "mushroom": {"small": BUDGET, "paper": BUDGET}},
    "methods": {"matched": {"model": "matched"}, "independent": {"model": "independent"}},
}


@pytest.mark.parametrize("name", table_names())
def test_all_tables_can_be_read(name):
    table = read_table(name)
    rows = table.rows()
    assert rows
    assert all(row.name not in table.skip for row in rows)
    for preset in ("small", "paper"):
        row = table.rows(preset=preset)[0]
        assert row.config["method"]
        assert row.config["budget"]
    assert table.check is None or table.check.row in {row.name for row in rows}


def test_rows_are_all_methods_on_all_data_with_the_data_sets_seeds():
    rows = Table.model_validate(FIELDS).rows()
    assert [(row.name, row.seed) for row in rows] == [
        ("nursery/matched", 0),
        ("nursery/matched", 1),
        ("nursery/independent", 0),
        ("nursery/independent", 1),
        ("mushroom/matched", 0),
        ("mushroom/independent", 0),
    ]


def test_rows_can_be_chosen():
    table = Table.model_validate(FIELDS | {"skip": ["mushroom/matched"]})
    assert [row.name for row in table.rows(only=["/matched"], seeds=[7])] == ["nursery/matched"]
    assert {row.name for row in table.rows(only=["mushroom/"])} == {"mushroom/independent"}
    with pytest.raises(ValueError, match="tiny has no row 'mushroom/matched': choose among nursery/matched"):
        table.rows(only=["mushroom/matched"])


def test_presets_have_files_of_their_own(tmp_path):
    table = Table.model_validate(FIELDS)
    small, paper = (table.rows(preset=preset)[0].path(tmp_path, ".json") for preset in ("small", "paper"))
    assert small == tmp_path / "tiny" / "nursery" / "matched-0.json"
    assert paper == tmp_path / "tiny-paper" / "nursery" / "matched-0.json"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"methods": {"matched": {"model": "matched", "dime": 3}}}, "methods: matched: dime: Extra inputs"),
        ({"methods": {"voronoi": {"model": "coupling"}}}, "methods: voronoi: a flow over cells, and no other model"),
        ({"data": {"nursery": {"small": {"steps": 0}, "paper": BUDGET}}}, "data: nursery: small: steps: .* greater"),
        ({"data": {"../up": {"small": BUDGET, "paper": BUDGET}}}, "the name '../up' may have letters"),
        ({"skip": ["nursery/nothing"]}, "there is no row 'nursery/nothing'"),
        ({"check": {"row": "nursery/matched", "tolerance": 0}}, "check: tolerance: .* greater"),
    ],
)
def test_a_wrong_table_is_refused_in_one_sentence(tmp_path, monkeypatch, change, message):
    import yaml

    monkeypatch.setattr("experiments.config.TABLES", tmp_path)
    fields = {name: value for name, value in FIELDS.items() if name != "name"}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(fields | change))
    with pytest.raises(ValueError, match=message) as caught:
        read_table("tiny")
    assert str(caught.value).startswith("tiny.yaml: ")
    assert "\n" not in str(caught.value)


def test_no_yaml_and_no_table_are_said(tmp_path, monkeypatch):
    assert (TABLES / "table1.yaml").exists()
    monkeypatch.setattr("experiments.config.TABLES", tmp_path)
    (tmp_path / "odd.yaml").write_text("a: [")
    (tmp_path / "list.yaml").write_text("- a")
    with pytest.raises(ValueError, match=r"odd\.yaml is not YAML"):
        read_table("odd")
    with pytest.raises(ValueError, match=r"list\.yaml must be a mapping"):
        read_table("list")
    with pytest.raises(ValueError, match="there is no table 'none': choose one of list, odd"):
        read_table("none")
