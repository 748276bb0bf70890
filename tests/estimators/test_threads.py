"""What an estimator draws is the same from threads, processes and partitions, and leaves all random states alone."""

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import joblib
import numpy as np
import pandas as pd
import pytest
import torch

from tessflow import MixtureFlow, SetEstimator, TabularFlow, TabularImputer, TabularOutlierDetector, estimators
from tessflow.estimators.calibration import check
from tessflow.viz.report import write_report

_RNG = np.random.default_rng(0)
TABLE = pd.DataFrame(
    {
        "class": _RNG.choice(["a", "b", "c"], 80),
        "real": _RNG.normal(size=80),
        "count": _RNG.poisson(2, 80),
        "hole": np.where(_RNG.random(80) < 0.3, np.nan, _RNG.normal(size=80)),
    }
)
NUMBERS = _RNG.normal(size=(80, 3))
SETS = [["a", "b", "c"], ["b", "c", "d"], ["a", "d", "e"]] * 20
SMALL = {"max_steps": 3, "random_state": 0}


def _table(**options):
    return TabularFlow(hidden_features=(8,), **SMALL, **options).fit(TABLE)


MADE = {
    "any order": lambda: _table(order="any"),
    "one order": lambda: _table(order="table"),
    "order found": _table,
    "coupling": lambda: _table(backbone="coupling", layers=2),
    "point": lambda: _table(condition_on="point"),
    "mixture": lambda: MixtureFlow(3, layers=2, **SMALL).fit(NUMBERS),
    "mixture, Gaussians": lambda: MixtureFlow(layers=2, **SMALL).fit(NUMBERS),
    "mixture, several": lambda: MixtureFlow(3, n_estimators=2, layers=2, **SMALL).fit(NUMBERS),
    "mixture, softsign": lambda: MixtureFlow(3, layers=2, profile="softsign", **SMALL).fit(NUMBERS),
    **{
        f"sets, {model}": lambda model=model: SetEstimator(model, width=8, dimension=2, rank=4, **SMALL).fit(SETS)
        for model in ("matched", "flow", "dpp", "independent")
    },
    "imputer": lambda: TabularImputer(TabularFlow(hidden_features=(8,), **SMALL), strategy="sample").fit(TABLE),
    "detector": lambda: TabularOutlierDetector(TabularFlow(hidden_features=(8,), **SMALL)).fit(TABLE),
}
made = lru_cache(lambda name: MADE[name]())


def calls(name, model, directory):
    """Everything that a fitted estimator can be asked for, by name; each a function of nothing."""
    rows = SETS if name.startswith("sets") else NUMBERS if name.startswith("mixture") else TABLE
    found = {}
    if hasattr(model, "sample"):
        found["sample"] = lambda: model.sample(40)
        found["sample, seeded"] = lambda: model.sample(40, random_state=7)
        found["sample_batches"] = lambda: list(model.sample_batches(40, 15))
    for method in ("score_samples", "score", "predict", "transform", "decision_function"):
        if hasattr(model, method) and (name, method) != ("mixture, several", "predict"):
            found[method] = lambda method=method: getattr(model, method)(rows)
    if name.startswith("sets"):
        some = {"n_suggestions": 2, "draws": 20}
        found["complete"] = lambda: model.complete(["a", "b"], **some)
        if name != "sets, flow":
            found["complete several"] = lambda: model.complete(["a"], **some)
    if isinstance(model, TabularFlow):
        if model.has_conditionals_:
            found["score_columns"] = lambda: model.score_columns(TABLE)
        found["check"] = lambda: check(model, TABLE, train=TABLE, rows=20).model_dump_json()
        if name == "one order":  # of a page and its figures, which take time, one is enough
            found["report"] = lambda: _report(model, directory)
    if name == "any order":
        several = {"real": (-1, 1), "count": [1, 2]}
        found["sample given"] = lambda: model.sample(20, given=several)
        found["batches given"] = lambda: list(model.sample_batches(20, 10, given={"class": "a"}))
        found["score given"] = lambda: model.score_samples(TABLE, columns=["real"], given=["class"])
        found["conditional"] = lambda: model.conditional(TABLE, "real").quantiles()
        found["pit"] = lambda: model.conditional(TABLE, "real").pit()
        for strategy in ("typical", "mean", "sample"):
            found[f"impute {strategy}"] = lambda strategy=strategy: model.impute(TABLE, strategy=strategy)
    return found


def _report(model, directory):
    path = directory / f"{threading.get_ident()}.html"
    write_report(model, path, table=TABLE, rows=50, seed=0)
    return path.read_text()


def same(one, other):
    if isinstance(one, (pd.DataFrame, pd.Series)):
        return one.equals(other)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(np.array_equal(one, other, equal_nan=np.asarray(one).dtype.kind == "f"))


@pytest.mark.parametrize("name", MADE)
def test_every_answer_is_the_same_from_threads(name, tmp_path):
    model = made(name)
    found = calls(name, model, tmp_path)
    alone = {call: ask() for call, ask in found.items()}
    np.random.seed(3)
    torch.manual_seed(3)
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    # Different answers are asked for at once, so that they could take numbers from each other.
    work = [call for _ in range(2) for call in found]
    with ThreadPoolExecutor(4) as pool:
        for call, answer in zip(work, pool.map(lambda call: found[call](), work), strict=True):
            assert same(answer, alone[call]), call
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])


def test_every_estimator_is_tried():
    assert {getattr(estimators, name) for name in estimators.__all__} <= {type(made(name)) for name in MADE}


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_draws_are_the_same_from_joblib(backend):
    model = made("any order")
    draws = joblib.Parallel(2, backend=backend)(joblib.delayed(_draw)(model, part) for part in np.array_split(TABLE, 4))
    for (rows, filled), part in zip(draws, np.array_split(TABLE, 4), strict=True):
        assert same(rows, model.sample(30, random_state=7))
        assert same(filled, model.impute(part, strategy="sample", random_state=7))


def _draw(model, part):
    return model.sample(30, random_state=7), model.impute(part, strategy="sample", random_state=7)


FITS = {
    "table": lambda: _table(order="any"),
    "coupling": MADE["coupling"],
    "order found": _table,
    "mixture": MADE["mixture"],
    "mixtures": lambda: MixtureFlow(n_estimators=2, layers=2, **SMALL).fit(NUMBERS),
    "sets": MADE["sets, matched"],
    "set flow": MADE["sets, flow"],
}


def test_fits_in_threads_end_as_each_does_alone():
    torch.manual_seed(3)
    state = torch.get_rng_state()
    alone = {name: fit() for name, fit in FITS.items()}
    with ThreadPoolExecutor(4) as pool:
        together = dict(zip(FITS, pool.map(lambda fit: fit(), FITS.values()), strict=True))
    assert torch.equal(torch.get_rng_state(), state)
    for name, model in together.items():
        weights = alone[name].model_.state_dict()
        assert all(torch.equal(tensor, weights[key]) for key, tensor in model.model_.state_dict().items()), name


@pytest.mark.parametrize("name", ["any order", "mixture", "sets, matched", "sets, independent"])
def test_batches_are_independent_and_repeat(name):
    model = made(name)
    parts = list(model.sample_batches(50, 20, random_state=1))
    assert [len(part) for part in parts] == [20, 20, 10]
    assert same(parts, list(model.sample_batches(50, 20, random_state=1)))
    assert not same(parts[0], parts[1])
    assert not same(parts, list(model.sample_batches(50, 20, random_state=2)))
    assert same(list(model.sample_batches(50, 20)), list(model.sample_batches(50, 20, random_state=0)))
    assert type(parts[0]) is type(model.sample(1))


def test_batches_are_drawn_when_they_are_asked_for():
    parts = made("mixture").sample_batches(10**12, 5)
    first = next(parts)
    with ThreadPoolExecutor(1) as pool:  # what is drawn meanwhile does not matter, nor which thread draws
        other = pool.submit(made("mixture").sample, 5).result()
        second = pool.submit(next, parts).result()
    again = made("mixture").sample_batches(10, 5)
    assert same(first, next(again))
    assert same(second, next(again))
    assert same(other, first)


@pytest.mark.parametrize(("option", "value"), [("n_samples", 0), ("n_samples", 2.5), ("batch_size", 0)])
def test_a_wrong_number_is_refused_before_anything_is_drawn(option, value):
    with pytest.raises(ValueError, match=f"^{option} must be an integer of at least 1 and below 2.63, got {value}"):
        made("mixture").sample_batches(**({"n_samples": 5} | {option: value}))


def test_partitions_draw_independent_rows_from_spawned_seeds():
    model = made("any order")
    seeds = np.random.SeedSequence(5).spawn(20)
    parts = [model.sample(8, random_state=seed) for seed in seeds]
    assert all(not same(one, other) for n, one in enumerate(parts) for other in parts[:n])
    with ThreadPoolExecutor(4) as pool:
        assert same(parts, list(pool.map(lambda seed: model.sample(8, random_state=seed), seeds)))


def test_a_generator_of_numpy_goes_on():
    model, rng = made("mixture"), np.random.default_rng(0)
    first, second = model.sample(5, random_state=rng), model.sample(5, random_state=rng)
    assert not same(first, second)
    assert same(first, model.sample(5, random_state=np.random.default_rng(0)))


@pytest.mark.parametrize(
    "seed",
    [3, np.int64(3), np.random.SeedSequence(3), np.random.default_rng(3), np.random.RandomState(3)],
    ids=lambda seed: type(seed).__name__,
)
def test_every_kind_of_seed_is_taken_wherever_something_is_drawn(seed):
    made("any order").sample(3, random_state=seed)
    made("any order").sample(3, given={"class": "a"}, random_state=seed)
    made("any order").impute(TABLE, strategy="sample", random_state=seed)
    made("sets, matched").complete(["a"], draws=5, random_state=seed)
    next(made("mixture").sample_batches(3, random_state=seed))
    fitted = MixtureFlow(2, layers=2, max_steps=1, random_state=seed).fit(NUMBERS)
    assert 0 <= fitted.options_.random_state < 2**63
