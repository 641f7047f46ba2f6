"""Preprocessors: numbers as scikit-learn, pandas and SciPy have them; storing; errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.stats
from sklearn import feature_extraction, impute, preprocessing

import rayjup.data
from rayjup.data.preprocessor import (
    Preprocessor,
    PreprocessorNotFittedException,
    SerializablePreprocessorBase,
)
from rayjup.data.preprocessors import (
    BatchMapper,
    Categorizer,
    Chain,
    Concatenator,
    CountVectorizer,
    CustomKBinsDiscretizer,
    FeatureHasher,
    HashingVectorizer,
    LabelEncoder,
    MaxAbsScaler,
    MinMaxScaler,
    MultiHotEncoder,
    Normalizer,
    OneHotEncoder,
    OrdinalEncoder,
    PowerTransformer,
    RobustScaler,
    SimpleImputer,
    StandardScaler,
    Tokenizer,
    TorchVisionPreprocessor,
    UniformKBinsDiscretizer,
)

RNG = np.random.default_rng(11)
N = 500
FRAME = pd.DataFrame(
    {
        "a": np.where(RNG.random(N) < 0.1, np.nan, RNG.normal(5, 3, N)),
        "b": RNG.integers(-50, 50, N),
        "flat": np.full(N, 7.0),
        "city": RNG.choice(["Ulm", "Bonn", "Köln"], N),
        "text": [" ".join(RNG.choice(["red", "green", "blue"], 3)) for _ in range(N)],
    }
)
NUMBERS = ["a", "b", "flat"]


def dataset(frame: pd.DataFrame = FRAME, blocks: int = 3) -> Any:
    size = -(-len(frame) // blocks)
    return rayjup.data.from_pandas([frame.iloc[start : start + size] for start in range(0, len(frame), size)])


def column(ds: Any, name: str) -> np.ndarray:
    return np.concatenate([batch[name] for batch in ds.iter_batches(batch_size=None, batch_format="numpy")])


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        (StandardScaler, preprocessing.StandardScaler()),
        (MinMaxScaler, preprocessing.MinMaxScaler()),
        (MaxAbsScaler, preprocessing.MaxAbsScaler()),
        (RobustScaler, preprocessing.RobustScaler()),
        (
            lambda columns: RobustScaler(columns, quantile_range=(0.1, 0.8)),
            preprocessing.RobustScaler(quantile_range=(10, 80)),
        ),
        (SimpleImputer, impute.SimpleImputer()),
    ],
)
def test_columns_as_scikit_learn_has_them(mine: Any, theirs: Any) -> None:
    expected = theirs.fit_transform(FRAME[NUMBERS])
    out = mine(NUMBERS).fit_transform(dataset())
    for place, name in enumerate(NUMBERS):
        np.testing.assert_allclose(column(out, name).astype(float), expected[:, place], rtol=1e-9, atol=1e-12)


def test_nan_in_arrays_is_missing_as_it_is_in_scikit_learn() -> None:
    values = FRAME[["a"]].to_numpy()
    ds = rayjup.data.from_numpy(values[:, 0])
    out = column(StandardScaler(["data"]).fit_transform(ds), "data")
    expected = preprocessing.StandardScaler().fit_transform(values)[:, 0]
    np.testing.assert_allclose(out, expected, rtol=1e-9)


@pytest.mark.parametrize("norm", ["l1", "l2", "max"])
def test_normalizer(norm: str) -> None:
    frame = FRAME[["b", "flat"]].copy()
    frame.iloc[0] = 0
    out = Normalizer(["b", "flat"], norm).transform(dataset(frame))
    expected = preprocessing.normalize(frame, norm)
    np.testing.assert_allclose(np.column_stack([column(out, "b"), column(out, "flat")]), expected)


@pytest.mark.parametrize("power", [0, 0.5, 1, 2, -1.3])
def test_power_transformer(power: float) -> None:
    frame = pd.DataFrame({"x": RNG.normal(size=50), "p": RNG.random(50) + 0.1})
    out = PowerTransformer(["x"], power).transform_batch(frame)
    np.testing.assert_allclose(out["x"], scipy.stats.yeojohnson(frame["x"], power), rtol=1e-9)
    out = PowerTransformer(["p"], power, method="box-cox").transform_batch(frame)
    np.testing.assert_allclose(out["p"], scipy.stats.boxcox(frame["p"], power), rtol=1e-9)


def test_encoders() -> None:
    ds = dataset()
    ordinal = preprocessing.OrdinalEncoder().fit_transform(FRAME[["city", "b"]])
    out = OrdinalEncoder(["city", "b"]).fit_transform(ds)
    assert np.array_equal(column(out, "city"), ordinal[:, 0]) and np.array_equal(
        column(out, "b"), ordinal[:, 1]
    )
    hot = column(OneHotEncoder(["city"]).fit_transform(ds), "city")
    assert hot.dtype == np.uint8
    assert np.array_equal(
        hot, preprocessing.OneHotEncoder(sparse_output=False).fit_transform(FRAME[["city"]])
    )
    labels = LabelEncoder("city", output_column="label").fit(ds)
    coded = labels.transform(ds)
    assert np.array_equal(column(coded, "label"), preprocessing.LabelEncoder().fit_transform(FRAME["city"]))
    assert (
        column(labels.inverse_transform(coded.drop_columns(["city"])), "city").tolist()
        == FRAME["city"].tolist()
    )
    assert labels.get_output_columns() == ["label"]


def test_lists_of_values() -> None:
    frame = pd.DataFrame({"tags": [["x", "y"], ["y", "y"], [], ["z", "x"]]})
    ds = rayjup.data.from_pandas(frame)
    multi = column(MultiHotEncoder(["tags"]).fit_transform(ds), "tags")
    assert np.array_equal(
        np.minimum(multi, 1), preprocessing.MultiLabelBinarizer().fit_transform(frame["tags"])
    )
    assert multi[1].tolist() == [0, 2, 0]
    kept = MultiHotEncoder(["tags"], max_categories={"tags": 1}).fit(ds)
    assert kept.stats_ == {"unique_values(tags)": {"y": 0}}
    each = OrdinalEncoder(["tags"]).fit_transform(ds).take_all()
    assert [list(row["tags"]) for row in each] == [[0, 1], [1, 1], [], [2, 0]]
    whole = OrdinalEncoder(["tags"], encode_lists=False).fit_transform(ds)
    assert column(whole, "tags").tolist() == [1, 2, 0, 3]


def test_values_not_seen_before() -> None:
    ds = rayjup.data.from_items([{"c": "a"}, {"c": "b"}, {"c": "b"}])
    new = pd.DataFrame({"c": ["b", "?"]})
    assert OrdinalEncoder(["c"]).fit(ds).transform_batch(new)["c"].isna().tolist() == [False, True]
    assert np.asarray(OneHotEncoder(["c"]).fit(ds).transform_batch(new)["c"].array).tolist() == [
        [0, 1],
        [0, 0],
    ]
    most = OneHotEncoder(["c"], max_categories={"c": 1}).fit(ds)
    assert most.stats_ == {"unique_values(c)": {"b": 0}} and most.safe_get("a", {"b": 0}) == -1
    with pytest.raises(ValueError, match="'nope'; the columns are c"):
        OneHotEncoder(["c"], max_categories={"nope": 1}).fit(ds)
    with pytest.raises(ValueError, match="column 'c': it has missing values"):
        OrdinalEncoder(["c"]).fit(rayjup.data.from_items([{"c": "a"}, {"c": None}]))


def test_categorizer() -> None:
    out = Categorizer(["city"]).fit_transform(dataset()).to_pandas()
    assert out["city"].dtype == pd.CategoricalDtype(["Bonn", "Köln", "Ulm"])
    assert out["city"].tolist() == FRAME["city"].tolist()
    given = Categorizer(["city"], {"city": pd.CategoricalDtype(["Ulm"], ordered=True)}).fit(dataset())
    made = given.transform_batch(FRAME)["city"]
    assert made.cat.ordered and made.isna().sum() == (FRAME["city"] != "Ulm").sum()


def test_imputer_of_other_kinds() -> None:
    frame = pd.DataFrame(
        {"s": ["x", "y", None, "y", "x", None], "i": pd.array([3, None, 1, 3, 1, 2], "Int64")}
    )
    ds = rayjup.data.from_pandas(frame)
    out = SimpleImputer(["s", "i"], "most_frequent").fit_transform(ds).to_pandas()
    theirs = impute.SimpleImputer(strategy="most_frequent").fit_transform(frame[["i"]].astype(float))
    assert out["s"].tolist() == ["x", "y", "x", "y", "x", "x"] and out["i"].tolist() == theirs[:, 0].tolist()
    filled = SimpleImputer(["s"], "constant", fill_value="?").transform(ds).to_pandas()
    assert filled["s"].tolist() == ["x", "y", "?", "y", "x", "?"]
    with pytest.raises(ValueError, match="needs a fill_value"):
        SimpleImputer(["s"], "constant")
    with pytest.raises(ValueError, match="cannot be filled with 'q'"):
        SimpleImputer(["i"], "constant", fill_value="q").transform_batch(pa.table({"i": [1, None]}))
    with pytest.raises(ValueError, match="nothing but missing values"):
        empty = rayjup.data.from_arrow(pa.table({"e": pa.nulls(2, pa.float64())}))
        SimpleImputer(["e"]).fit(empty).transform_batch(pa.table({"e": [1.0]}))


def test_bins_as_pandas_cuts_them() -> None:
    ds = dataset()
    out = UniformKBinsDiscretizer(["b", "a"], bins={"b": 5, "a": 3}).fit_transform(ds).to_pandas()
    assert out["b"].tolist() == pd.cut(FRAME["b"], 5, labels=False).tolist()
    expected = pd.cut(FRAME["a"], 3, labels=False)
    assert out["a"].fillna(-1).tolist() == expected.fillna(-1).tolist()
    left = UniformKBinsDiscretizer(["b"], bins=4, right=False).fit_transform(ds).to_pandas()
    assert left["b"].tolist() == pd.cut(FRAME["b"], 4, right=False, labels=False).tolist()
    edges = [-60, 0, 10, 60]
    custom = CustomKBinsDiscretizer(["b"], edges).transform(ds).to_pandas()
    assert custom["b"].tolist() == pd.cut(FRAME["b"], edges, labels=False).tolist()
    named = pd.CategoricalDtype(["low", "mid", "high"], ordered=True)
    labelled = CustomKBinsDiscretizer(["b"], edges, dtypes={"b": named}).transform_batch(FRAME)
    assert labelled["b"].tolist() == pd.cut(FRAME["b"], edges, labels=list(named.categories)).tolist()
    intervals = CustomKBinsDiscretizer(["b"], {"b": pd.IntervalIndex.from_breaks(edges)})
    assert intervals.transform_batch(FRAME)["b"].tolist() == custom["b"].tolist()
    small = CustomKBinsDiscretizer(["b"], edges, dtypes={"b": np.int8}).transform_batch(
        {"b": np.array([1, -5])}
    )
    assert small["b"].dtype == np.int8
    with pytest.raises(ValueError, match="says nothing about column 'a'"):
        CustomKBinsDiscretizer(["a"], {"b": edges})


def test_text() -> None:
    ds = dataset()
    counts = CountVectorizer(["text"]).fit(ds)
    order = [token for token, _ in counts.stats_["token_counts(text)"].most_common()]
    theirs = feature_extraction.text.CountVectorizer(vocabulary=order).fit_transform(FRAME["text"]).toarray()
    assert np.array_equal(column(counts.transform(ds), "text"), theirs)
    assert len(CountVectorizer(["text"], max_features=2).fit(ds).stats_["token_counts(text)"]) == 2
    hashed = column(HashingVectorizer(["text"], 8).transform(ds), "text")
    sklearn_hashed = feature_extraction.text.HashingVectorizer(
        n_features=8, alternate_sign=False, norm=None, tokenizer=str.split, token_pattern=None
    ).transform(FRAME["text"])
    assert np.array_equal(hashed, sklearn_hashed.toarray())
    tokens = Tokenizer(["text"]).transform_batch(pa.table({"text": ["a b", None, "ü"]}))
    assert tokens.to_pydict() == {"text": [["a", "b"], None, ["ü"]]}
    words = pd.DataFrame({"I": [1, 2], "like": [0, 3], "ünïcode": [5, 0]})
    made = FeatureHasher(["I", "like", "ünïcode"], 4, "h").transform_batch(words)
    sklearn_made = feature_extraction.FeatureHasher(4, alternate_sign=False).transform(
        words.to_dict("records")
    )
    assert np.array_equal(np.asarray(made["h"].array), sklearn_made.toarray())


def test_concatenator() -> None:
    frame = pd.DataFrame({"x": [1, 2], "y": [0.5, None], "v": [[1.0, 2.0], [3.0, 4.0]], "s": ["a", "b"]})
    joined = Concatenator(["y", "x"], dtype=np.float32).transform_batch(frame)
    vectors = np.asarray(joined["concat_out"].array)
    assert vectors.dtype == np.float32 and vectors[0].tolist() == [0.5, 1.0] and np.isnan(vectors[1, 0])
    assert list(joined.columns) == ["v", "s", "concat_out"]
    flat = Concatenator(["x", "v"], "out", flatten=True).transform_batch(frame)
    assert np.asarray(flat["out"].array).tolist() == [[1, 1, 2], [2, 3, 4]]
    older = Concatenator(output_column_name="f", exclude=["s", "v"]).transform_batch(frame)
    assert list(older.columns) == ["v", "s", "f"]
    assert list(Concatenator(["x", "nope"]).transform_batch(frame).columns) == ["y", "v", "s", "concat_out"]
    for wrong, message in (
        (Concatenator(["x", "nope"], raise_if_missing=True), "needs column 'nope'"),
        (Concatenator(["x", "v"]), "flatten=True"),
        (Concatenator(["s"]), "no numbers"),
    ):
        with pytest.raises(ValueError, match=message):
            wrong.transform_batch(frame)


def test_images() -> None:
    torch = pytest.importorskip("torch")
    images = RNG.integers(0, 255, (4, 6, 5, 3), dtype=np.uint8)

    def to_tensor(array: Any) -> Any:
        return torch.as_tensor(np.asarray(array)).permute(2, 0, 1) / 255

    out = TorchVisionPreprocessor(["image"], to_tensor, ["tensor"]).transform_batch({"image": images})
    assert out["tensor"].shape == (4, 3, 6, 5) and np.allclose(
        out["tensor"][0], images[0].transpose(2, 0, 1) / 255
    )
    halved = TorchVisionPreprocessor(["image"], lambda batch: torch.as_tensor(batch)[:, ::2], batched=True)
    assert halved.transform_batch({"image": images})["image"].shape == (4, 3, 5, 3)
    with pytest.raises(ValueError, match="gave a str"):
        TorchVisionPreprocessor(["image"], lambda image: "no").transform_batch({"image": images})


def test_chain_and_batch_mapper() -> None:
    ds = dataset()
    chain = Chain(
        SimpleImputer(["a"]),
        BatchMapper(lambda df: df.assign(a=df["a"] * 2), "pandas"),
        StandardScaler(["a"]),
    )
    assert chain.fit_status() is Preprocessor.FitStatus.NOT_FITTED
    with pytest.raises(PreprocessorNotFittedException, match="has not been fitted"):
        chain.transform(ds)
    out = chain.fit_transform(ds)
    filled = impute.SimpleImputer().fit_transform(FRAME[["a"]]) * 2
    np.testing.assert_allclose(
        column(out, "a"), preprocessing.StandardScaler().fit_transform(filled)[:, 0], rtol=1e-9
    )
    assert chain.fit_status() is Preprocessor.FitStatus.FITTED
    assert chain.get_input_columns() == ["a"]
    partly = Chain(SimpleImputer(["a"]).fit(ds), StandardScaler(["b"]))
    assert partly.fit_status() is Preprocessor.FitStatus.PARTIALLY_FITTED
    assert Chain(Tokenizer(["text"])).fit_status() is Preprocessor.FitStatus.NOT_FITTABLE


@pytest.mark.parametrize(
    "preprocessor",
    [
        StandardScaler(["a"], ["scaled"]),
        RobustScaler(["a"], (0.2, 0.9)),
        OrdinalEncoder(["city"]),
        OneHotEncoder(["city"], max_categories={"city": 2}),
        UniformKBinsDiscretizer(["b"], 3),
        CountVectorizer(["text"], max_features=2),
        Chain(SimpleImputer(["a"]), MinMaxScaler(["a", "b"])),
        BatchMapper(lambda df: df.head(2), "pandas"),
        Categorizer(["city"]),
    ],
    ids=lambda p: type(p).__name__,
)
def test_stored_and_made_again(preprocessor: Any) -> None:
    import cloudpickle

    fitted = preprocessor.fit(dataset())
    data = fitted.serialize()
    assert data.startswith(b"CPKL:")
    for again in (Preprocessor.deserialize(data), cloudpickle.loads(cloudpickle.dumps(fitted))):
        assert type(again) is type(fitted) and repr(again) == repr(fitted)
        assert again.fit_status() is fitted.fit_status()
        assert again.transform_batch(FRAME).astype(str).equals(fitted.transform_batch(FRAME).astype(str))
    assert SerializablePreprocessorBase.deserialize(data).get_output_columns() == fitted.get_output_columns()


def test_kinds_of_batches_and_the_rest_of_the_interface() -> None:
    scaler = StandardScaler(["b"])
    assert scaler.fit_status() is Preprocessor.FitStatus.NOT_FITTED and not scaler.has_stats()
    with pytest.raises(PreprocessorNotFittedException, match="call fit"):
        scaler.transform_batch(FRAME)
    assert scaler.fit(dataset()) is scaler and scaler.has_stats()
    assert set(scaler.stats_) == {"mean(b)", "std(b)"}
    indexed = FRAME[["b"]].set_index(np.arange(N) + 5)
    assert scaler.transform_batch(indexed).index[0] == 5
    assert isinstance(scaler.transform_batch(pa.table({"b": [1]})), pa.Table)
    assert scaler.transform_batch({"b": np.array([1])})["b"].shape == (1,)
    assert scaler.get_input_columns() == scaler.get_output_columns() == ["b"]
    assert OneHotEncoder.get_preprocessor_class_id() == "io.ray.preprocessors.one_hot_encoder"
    assert Tokenizer.get_version() == 1
    with pytest.raises(KeyError, match="StandardScaler needs column 'b'"):
        scaler.transform_batch(pa.table({"x": [1]}))
    with pytest.raises(TypeError, match=r"works on numbers; column 'b' is of type string"):
        scaler.transform_batch(pa.table({"b": ["x"]}))
    with pytest.raises(ValueError, match="2 columns for 1 columns"):
        StandardScaler(["a"], ["x", "y"])
    with pytest.raises(TypeError, match="list of names"):
        StandardScaler("a")  # type: ignore[arg-type]


def test_ones_own() -> None:
    class Shifted(Preprocessor):
        def _fit(self, dataset: Any) -> Preprocessor:
            self.stats_ = {"low": dataset.min("b")}
            return self

        def _transform_pandas(self, df: pd.DataFrame) -> pd.DataFrame:
            df["b"] -= self.stats_["low"]  # type: ignore[index]
            return df

    shifted = Shifted().fit(dataset())
    assert column(shifted.transform(dataset()), "b").min() == 0
    frame = FRAME.copy()
    assert shifted.transform_batch(frame)["b"].min() == 0 and frame["b"].min() < 0
    assert shifted.transform_batch({"b": np.array([0])})["b"][0] == -FRAME["b"].min()
