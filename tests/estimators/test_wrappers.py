"""An imputer and an outlier detector keep scikit-learn's conventions, and say what the flow inside says."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder
from sklearn.utils.estimator_checks import parametrize_with_checks

from tessflow import TabularFlow, TabularImputer, TabularOutlierDetector
from tessflow.tables import read_table

PENGUINS = Path(__file__).parents[2] / "examples" / "penguins.csv"
SMALL = {"max_steps": 20, "hidden_features": (16,), "random_state": 0}
BRIEF = TabularFlow(**SMALL | {"max_steps": 2})
EQUIVALENCE = "check_sample_weight_equivalence_on_dense_data"


def expected_failed_checks(estimator):
    """Weights are like repeated rows in distribution, and batches are drawn with other numbers."""
    if isinstance(estimator, TabularImputer):
        return {}  # the rows of that check have nothing to fill
    return {EQUIVALENCE: "a weighted fit draws other batches than one of repeated rows"}


@parametrize_with_checks(
    [TabularImputer(BRIEF), TabularOutlierDetector(BRIEF)],
    expected_failed_checks=expected_failed_checks,
)
def test_sklearn_conventions(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def penguins():
    return read_table(PENGUINS, na_values="NA")


@pytest.fixture(scope="module")
def fitted(penguins):
    return TabularFlow(**SMALL).fit(penguins)


@pytest.mark.parametrize("strategy", ["typical", "mean", "sample"])
def test_the_imputer_fills_as_the_flow_does(penguins, fitted, strategy):
    imputer = TabularImputer(TabularFlow(**SMALL), strategy=strategy, random_state=3).fit(penguins)
    filled = imputer.transform(penguins)
    pd.testing.assert_frame_equal(filled, fitted.impute(penguins, strategy=strategy, random_state=3))
    assert not filled.isna().any(axis=None)
    assert imputer.get_feature_names_out().tolist() == list(penguins.columns)
    assert imputer.n_features_in_ == 8
    pd.testing.assert_frame_equal(imputer.fit_transform(penguins), filled)


def test_a_fitted_flow_is_used_as_it_is(penguins, fitted):
    imputer = TabularImputer(FrozenEstimator(fitted)).fit(penguins[:5])
    pd.testing.assert_frame_equal(imputer.transform(penguins), fitted.impute(penguins))
    again = clone(imputer).fit(penguins[:5])
    pd.testing.assert_frame_equal(again.transform(penguins), fitted.impute(penguins))
    detector = TabularOutlierDetector(FrozenEstimator(fitted), contamination=0.05).fit(penguins)
    np.testing.assert_array_equal(detector.score_samples(penguins), fitted.score_samples(penguins))
    assert clone(TabularImputer(fitted)).flow is not fitted


def test_the_imputer_in_a_pipeline(penguins):
    table = penguins.drop(columns="species")
    pipeline = make_pipeline(
        TabularImputer(TabularFlow(**SMALL)),
        OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
        LogisticRegression(max_iter=2000),
    )
    pipeline.set_output(transform="pandas").fit(table, penguins["species"])
    assert pipeline.score(table, penguins["species"]) > 0.9
    assert list(pipeline[:1].get_feature_names_out()) == list(table.columns)
    search = GridSearchCV(
        pipeline, {"tabularimputer__flow__max_steps": [1, 2]}, cv=KFold(2, shuffle=True, random_state=0)
    )
    assert search.fit(table, penguins["species"]).best_score_ > 0.5


def test_output_is_as_was_asked_for(penguins, fitted):
    pl, pa = pytest.importorskip("polars"), pytest.importorskip("pyarrow")
    imputer = TabularImputer(FrozenEstimator(fitted)).fit(penguins)
    arrow = pa.Table.from_pandas(penguins, preserve_index=False)
    assert isinstance(imputer.transform(pl.from_arrow(arrow)), pl.DataFrame)
    assert isinstance(imputer.transform(arrow), pa.Table)
    assert isinstance(imputer.set_output(transform="polars").transform(penguins), pl.DataFrame)
    for rows in (pl.from_pandas(penguins), pa.Table.from_pandas(penguins, preserve_index=False)):
        filled = imputer.set_output(transform="pandas").transform(rows)
        assert isinstance(filled, pd.DataFrame)
        assert filled["body_mass_g"].dtype.kind in "if"
    assert isinstance(imputer.set_output(transform="pandas").transform(pl.from_arrow(arrow)), pd.DataFrame)


def test_a_share_of_the_training_rows_are_outliers(penguins, fitted):
    detector = TabularOutlierDetector(TabularFlow(**SMALL), contamination=0.1).fit(penguins)
    scores = fitted.score_samples(penguins)
    np.testing.assert_array_equal(detector.score_samples(penguins), scores)
    np.testing.assert_array_equal(detector.decision_function(penguins), scores - detector.offset_)
    found = detector.predict(penguins)
    assert set(found) == {-1, 1}
    assert (found == -1).mean() == pytest.approx(0.1, abs=0.01)
    assert (scores[found == -1].max() < detector.offset_) & (scores[found == 1].min() >= detector.offset_)
    np.testing.assert_array_equal(TabularOutlierDetector(TabularFlow(**SMALL)).fit_predict(penguins), found)
    odd = penguins[:1].assign(body_mass_g=60_000)
    assert detector.predict(odd).tolist() == [-1]


def test_weights_of_outliers(penguins):
    weights = np.where(penguins["species"] == "Adelie", 0, 1)
    detector = TabularOutlierDetector(TabularFlow(**SMALL)).fit(penguins, sample_weight=weights)
    some = penguins[weights > 0]
    alone = TabularOutlierDetector(TabularFlow(**SMALL)).fit(some)
    np.testing.assert_array_equal(detector.score_samples(some), alone.score_samples(some))
    assert (detector.predict(some) == -1).mean() == pytest.approx(0.1, abs=0.01)


def test_what_is_refused(penguins, fitted):
    for contamination in (0, 0.6, float("nan")):
        with pytest.raises(ValueError, match=r"contamination must be above 0 and at most 0.5"):
            TabularOutlierDetector(contamination=contamination).fit(penguins)
    with pytest.raises(NotFittedError):
        TabularImputer().transform(penguins)
    with pytest.raises(NotFittedError):
        TabularOutlierDetector().predict(penguins)
    imputer = TabularImputer(FrozenEstimator(fitted), strategy="mode").fit(penguins)
    with pytest.raises(ValueError, match="strategy must be 'typical', 'mean' or 'sample', got 'mode'"):
        imputer.transform(penguins)
    with pytest.raises(ValueError, match="feature names should match"):
        imputer.transform(penguins.rename(columns={"sex": "gender"}))


@pytest.mark.parametrize("options", [{"order": "fixed"}, {"order": "table"}, {"backbone": "coupling"}], ids=str)
def test_an_imputer_of_another_flow_is_refused_before_anything_is_trained(penguins, options, monkeypatch):
    monkeypatch.setattr(TabularFlow, "fit", lambda *_, **__: pytest.fail("it was fitted"))
    ((name, value),) = options.items()
    with pytest.raises(ValueError, match=rf"a flow with {name}='{value}' does not know each column given all others"):
        TabularImputer(TabularFlow(**options)).fit(penguins)


def test_an_imputer_of_many_columns_takes_any_order():
    rows = np.random.default_rng(0).integers(0, 2, (60, 66)).astype(str)
    imputer = TabularImputer(BRIEF).fit(rows)
    assert imputer.flow_.get_params()["order"] == "any"
