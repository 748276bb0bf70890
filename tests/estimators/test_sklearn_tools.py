"""scikit-learn's tools work with a `TabularFlow` on a real table of mixed columns."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score, cross_validate
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from tessflow import TabularFlow
from tessflow.tables import read_table

PENGUINS = Path(__file__).parents[2] / "examples" / "penguins.csv"
SMALL = {"max_steps": 20, "hidden_features": (16,), "random_state": 0}
CV = KFold(2, shuffle=True, random_state=0)


@pytest.fixture(scope="module")
def penguins():
    table = read_table(PENGUINS, na_values="NA")
    return table.assign(species=table["species"].astype("category"))


def test_cross_validation(penguins):
    flow = TabularFlow(**SMALL)
    scores = cross_val_score(flow, penguins, cv=CV, error_score="raise")
    train, test = next(CV.split(penguins))
    assert scores[0] == flow.fit(penguins.iloc[train]).score(penguins.iloc[test])
    weighted = cross_validate(flow, penguins, cv=CV, params={"sample_weight": np.ones(len(penguins))})
    np.testing.assert_array_equal(weighted["test_score"], scores)


def test_grid_search(penguins):
    search = GridSearchCV(TabularFlow(**SMALL), {"max_steps": [1, 20]}, cv=CV, error_score="raise").fit(penguins)
    assert search.best_params_ == {"max_steps": 20}
    assert search.best_score_ == search.cv_results_["mean_test_score"].max()
    assert search.score(penguins) == search.best_estimator_.score(penguins)
    assert search.best_estimator_.sample(3).dtypes.equals(penguins.dtypes)


def test_pipeline_and_clone(penguins):
    drop = FunctionTransformer(lambda table: table.drop(columns="year"))
    pipeline = Pipeline([("drop", drop), ("flow", TabularFlow(**SMALL))])
    weights = np.arange(len(penguins))
    pipeline.fit(penguins, flow__sample_weight=weights)
    alone = TabularFlow(**SMALL).fit(penguins.drop(columns="year"), sample_weight=weights)
    np.testing.assert_array_equal(pipeline.score_samples(penguins), alone.score_samples(penguins.drop(columns="year")))
    assert pipeline.score(penguins) == alone.score(penguins.drop(columns="year"))
    again = clone(pipeline)
    assert again["flow"].get_params() == pipeline["flow"].get_params()
    with pytest.raises(NotFittedError):
        again["flow"].score(penguins)
    assert pipeline.set_params(flow__max_steps=1).fit(penguins)["flow"].result_.steps == 1
