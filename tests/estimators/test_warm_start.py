"""A second fit with `warm_start=True` goes on from the fitted weights, and keeps the schema."""

import numpy as np
import pandas as pd
import pytest
import torch

from tessflow import TabularFlow

SMALL = {"max_steps": 20, "hidden_features": (16,), "random_state": 0}


def table(rows=120, seed=0):
    rng = np.random.default_rng(seed)
    kind = rng.choice(list("ab"), rows)
    return pd.DataFrame({"kind": kind, "wet": (kind == "a") ^ (rng.random(rows) < 0.1)})


def weights_of(flow):
    return torch.cat([parameter.detach().flatten() for parameter in flow.model_.parameters()])


def test_it_goes_on_where_it_was():
    flow = TabularFlow(warm_start=True, learning_rate=1e-9, **SMALL).fit(table())
    first, schema, before = flow.model_, flow.schema_, weights_of(flow)
    flow.fit(table(seed=1))
    assert flow.schema_ is schema
    assert flow.model_ is not first
    assert weights_of(flow) == pytest.approx(before, abs=1e-6)
    assert not torch.equal(weights_of(flow.set_params(learning_rate=1e-2).fit(table(seed=1))), before)
    cold = TabularFlow(**SMALL).fit(table(seed=1)).fit(table())
    assert torch.equal(weights_of(cold), weights_of(TabularFlow(**SMALL).fit(table())))


def test_many_short_fits_learn():
    flow = TabularFlow(warm_start=True, **SMALL).fit(table())
    first = flow.score(table(seed=1))
    for _ in range(5):
        flow.fit(table())
    assert flow.score(table(seed=1)) > first + 0.1


def test_what_was_not_seen_counts_as_usual(tmp_path):
    new = pd.concat([table(), pd.DataFrame({"kind": ["c"] * 30, "wet": True})])
    flow = TabularFlow(warm_start=True, **SMALL).fit(table())
    before = flow.score_samples(new[-1:])
    flow.set_params(max_steps=100).fit(new)
    assert flow.schema_.columns[0].values == ("a", "b")
    assert flow.score_samples(new[-1:]) > before + 1
    new.to_csv(tmp_path / "new.csv", index=False)
    schema = flow.schema_
    assert flow.fit(tmp_path / "new.csv").schema_ is schema
    for again in (new, tmp_path / "new.csv"):
        with pytest.raises(ValueError, match=r"column 'kind' has in row \d+ .*'c', which was not seen in training"):
            flow.set_params(unseen="error").fit(again)
    with pytest.raises(ValueError, match="1 missing: 'wet'"):
        flow.fit(new[["kind"]])


def test_the_order_of_the_columns_is_kept():
    flow = TabularFlow(order="fixed", warm_start=True, dimension=2, **SMALL).fit(table())
    order = flow.order_
    assert flow.fit(table(seed=1)).order_ == order


def test_weights_and_given_validation_rows():
    flow = TabularFlow(warm_start=True, **SMALL).fit(table())
    flow.fit(table(seed=1), sample_weight=np.arange(120), X_validation=table(seed=2))
    assert flow.schema_.columns[0].rows == 108


def test_other_models_are_refused():
    flow = TabularFlow(warm_start=True, **SMALL).fit(table())
    with pytest.raises(ValueError, match=r"dropout is 0.5, and warm_start=True goes on from a model with dropout=0.1"):
        flow.set_params(dropout=0.5).fit(table())
    with pytest.raises(ValueError, match="schema is that of the first fit with warm_start=True: leave it out"):
        flow.set_params(dropout=0.1).fit(table(), schema=flow.schema_)


def test_a_checkpoint_belongs_to_the_weights_it_started_from(tmp_path):
    flow = TabularFlow(warm_start=True, **SMALL).fit(table(), directory=tmp_path / "first")
    flow.save(tmp_path / "model")
    with pytest.raises(ValueError, match="starting weights is None there and"):
        flow.fit(table(), directory=tmp_path / "first")
    flow.fit(table(), directory=tmp_path / "second")
    again = TabularFlow.load(tmp_path / "model")
    assert again.warm_start
    assert torch.equal(weights_of(again.fit(table(), directory=tmp_path / "second")), weights_of(flow))
    with pytest.raises(ValueError, match="another training run"):
        TabularFlow(**SMALL).fit(table(), directory=tmp_path / "second")
