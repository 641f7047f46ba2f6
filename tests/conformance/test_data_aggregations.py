"""Aggregations and preprocessors, as Ray documents them."""

import math

import numpy as np
import pandas as pd
import pytest
import ray

pytestmark = pytest.mark.usefixtures("ray_cluster")

FRAME = pd.DataFrame(
    {
        "k": ["p", "q", "p", "q", "p"],
        "x": [3.0, 1.0, None, 2.0, 5.0],
        "n": [1, 0, 3, 0, 5],
        "s": ["a", "b", "a", "c", "a"],
    }
)


@pytest.fixture(scope="module", autouse=True)
def _quiet():
    from ray.data import DataContext

    DataContext.get_current().enable_progress_bars = False


def dataset():
    return ray.data.from_pandas([FRAME.iloc[:2], FRAME.iloc[2:]])


def test_over_everything():
    from ray.data.aggregate import (
        AbsMax,
        Count,
        CountDistinct,
        Max,
        Mean,
        Min,
        MissingValuePercentage,
        Quantile,
        Std,
        Sum,
        Unique,
        ValueCounter,
        ZeroPercentage,
    )

    got = dataset().aggregate(
        Count(),
        Count("x", ignore_nulls=True),
        Sum("x"),
        Sum("x", ignore_nulls=False, alias_name="strict"),
        Min("x"),
        Max("x"),
        Mean("x"),
        Std("x"),
        Std("n", ddof=0),
        AbsMax("x"),
        Quantile("n", q=0.5),
        CountDistinct("s"),
        Unique("s"),
        ValueCounter("s"),
        MissingValuePercentage("x"),
        ZeroPercentage("n"),
    )
    counts = got.pop("value_counter(s)")
    assert dict(zip(counts["values"], counts["counts"], strict=True)) == {"a": 3, "b": 1, "c": 1}
    assert sorted(got.pop("unique(s)")) == ["a", "b", "c"]
    strict = got.pop("strict")
    assert strict is None or math.isnan(strict)
    assert got == {
        "count()": 5,
        "count(x)": 4,
        "sum(x)": 11.0,
        "min(x)": 1.0,
        "max(x)": 5.0,
        "mean(x)": 2.75,
        "std(x)": pytest.approx(FRAME["x"].std()),
        "std(n)": pytest.approx(FRAME["n"].std(ddof=0)),
        "abs_max(x)": 5.0,
        "quantile(n)": 1.0,
        "count_distinct(s)": 3,
        "missing_pct(x)": pytest.approx(20.0),
        "zero_pct(n)": pytest.approx(40.0),
    }


def test_by_groups():
    from ray.data.aggregate import Count, Mean, Sum

    rows = dataset().groupby("k").aggregate(Count(), Sum("n"), Mean("x", alias_name="m")).take_all()
    assert sorted(rows, key=lambda row: row["k"]) == [
        {"k": "p", "count()": 3, "sum(n)": 9, "m": 4.0},
        {"k": "q", "count()": 2, "sum(n)": 0, "m": 1.5},
    ]


def test_ones_own():
    from ray.data.aggregate import AggregateFn, AggregateFnV2

    class Longest(AggregateFnV2):
        def __init__(self):
            super().__init__("longest", lambda: 0, on="s", ignore_nulls=True)

        def aggregate_block(self, block):
            return max(len(value) for value in block["s"].to_pylist())

        def combine(self, current_accumulator, new):
            return max(current_accumulator, new)

    ds = ray.data.from_items([{"s": "a"}, {"s": "abc"}, {"s": "ab"}], override_num_blocks=2)
    assert ds.aggregate(Longest()) == {"longest": 3}
    rows = AggregateFn(
        init=lambda key: 0,
        accumulate_row=lambda count, row: count + 1,
        merge=lambda a, b: a + b,
        finalize=lambda count: count * 10,
        name="tens",
    )
    assert ds.aggregate(rows) == {"tens": 30}


def column(ds, name):
    return [row[name] for row in ds.take_all()]


def test_scalers_and_imputer():
    from ray.data.preprocessors import MaxAbsScaler, MinMaxScaler, SimpleImputer, StandardScaler

    ds = dataset()
    known = FRAME["x"].dropna()
    scaled = [None if v is None else v for v in column(StandardScaler(["x"]).fit_transform(ds), "x")]
    expected = ((known - known.mean()) / known.std(ddof=0)).tolist()
    assert [v for v in scaled if v is not None and v == v] == pytest.approx(expected)
    fitted = StandardScaler(["x"]).fit(ds)
    assert fitted.stats_ == {
        "mean(x)": pytest.approx(known.mean()),
        "std(x)": pytest.approx(known.std(ddof=0)),
    }
    assert column(MinMaxScaler(["n"], ["m"]).fit_transform(ds), "m") == pytest.approx([0.2, 0, 0.6, 0, 1])
    assert column(MaxAbsScaler(["n"]).fit_transform(ds), "n") == pytest.approx([0.2, 0, 0.6, 0, 1])
    assert column(SimpleImputer(["x"]).fit_transform(ds), "x") == pytest.approx([3, 1, 2.75, 2, 5])
    most = SimpleImputer(["s"], strategy="most_frequent").fit(ds)
    assert most.stats_ == {"most_frequent(s)": "a"}


def test_encoders():
    from ray.data.preprocessors import (
        Categorizer,
        LabelEncoder,
        MultiHotEncoder,
        OneHotEncoder,
        OrdinalEncoder,
    )

    ds = dataset()
    ordinal = OrdinalEncoder(["s"]).fit(ds)
    assert ordinal.stats_ == {"unique_values(s)": {"a": 0, "b": 1, "c": 2}}
    assert column(ordinal.transform(ds), "s") == [0, 1, 0, 2, 0]
    hot = column(OneHotEncoder(["s"]).fit_transform(ds), "s")
    assert [list(row) for row in hot] == [[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1], [1, 0, 0]]
    labels = LabelEncoder("s").fit(ds)
    assert column(labels.transform(ds), "s") == [0, 1, 0, 2, 0]
    assert column(labels.inverse_transform(labels.transform(ds)), "s") == FRAME["s"].tolist()
    lists = ray.data.from_items([{"l": ["u", "v"]}, {"l": ["u", "u"]}, {"l": ["w"]}])
    multi = column(MultiHotEncoder(["l"]).fit_transform(lists), "l")
    assert [list(row) for row in multi] == [[1, 1, 0], [2, 0, 0], [0, 0, 1]]
    kept = OneHotEncoder(["s"], max_categories={"s": 1}).fit(ds)
    assert kept.stats_ == {"unique_values(s)": {"a": 0}}
    frame = Categorizer(["s"]).fit(ds).transform_batch(FRAME)
    assert frame["s"].dtype == pd.CategoricalDtype(["a", "b", "c"])
    with pytest.raises(ValueError, match=r"missing|null"):
        OrdinalEncoder(["x"]).fit(ds)


def test_rows_bins_text_and_vectors():
    from ray.data.preprocessors import (
        Concatenator,
        CountVectorizer,
        CustomKBinsDiscretizer,
        Normalizer,
        PowerTransformer,
        Tokenizer,
        UniformKBinsDiscretizer,
    )

    frame = pd.DataFrame({"a": [3.0, -1.0], "b": [4.0, 1.0], "t": ["x y x", "y"]})
    unit = Normalizer(["a", "b"]).transform_batch(frame.copy())
    assert unit["a"].tolist() == pytest.approx([0.6, -1 / math.sqrt(2)])
    power = PowerTransformer(["b"], power=2).transform_batch(frame.copy())
    assert power["b"].tolist() == pytest.approx([12.0, 1.5])
    bins = CustomKBinsDiscretizer(["a"], bins=[-5, 0, 5]).transform_batch(frame.copy())
    assert bins["a"].tolist() == [1, 0]
    ds = ray.data.from_pandas(frame)
    even = UniformKBinsDiscretizer(["a"], bins=2).fit(ds)
    assert even.stats_["a"].tolist() == pytest.approx([-1.004, 1.0, 3.0])
    assert list(Tokenizer(["t"]).transform_batch(frame.copy())["t"].iloc[0]) == ["x", "y", "x"]
    counted = CountVectorizer(["t"], max_features=1).fit(ds)
    assert dict(counted.stats_["token_counts(t)"]) in ({"x": 2}, {"y": 2})
    joined = Concatenator(["b", "a"], output_column_name="v", dtype=np.float32).transform_batch(frame.copy())
    assert np.asarray(joined["v"].iloc[0]).tolist() == [4.0, 3.0] and list(joined.columns) == ["t", "v"]


def test_chains_are_stored():
    from ray.data.preprocessor import Preprocessor, PreprocessorNotFittedException
    from ray.data.preprocessors import Chain, SimpleImputer, StandardScaler, Tokenizer

    ds = dataset()
    chain = Chain(SimpleImputer(["x"]), StandardScaler(["x"]))
    assert chain.fit_status() == Preprocessor.FitStatus.NOT_FITTED
    with pytest.raises(PreprocessorNotFittedException):
        chain.transform_batch(FRAME)
    out = column(chain.fit_transform(ds), "x")
    filled = FRAME["x"].fillna(FRAME["x"].mean())
    assert out == pytest.approx(((filled - filled.mean()) / filled.std(ddof=0)).tolist())
    again = Chain.deserialize(chain.serialize())
    assert again.fit_status() == Preprocessor.FitStatus.FITTED
    assert again.transform_batch(FRAME)["x"].tolist() == pytest.approx(out)
    assert Tokenizer(["s"]).fit_status() == Preprocessor.FitStatus.NOT_FITTABLE
