"""Preprocessors: fitted in one pass over a dataset, then applied to datasets and batches.

Map: ``scaler`` and ``normalizer`` (numbers), ``transformer`` (power), ``discretizer`` (bins), ``encoder``
(categories), ``imputer`` (missing values), ``text`` (tokens, counts, hashes), ``concatenator``, ``torch``
(images), ``chain`` and ``batch_mapper``. Numbers equal scikit-learn's.
"""

from __future__ import annotations

from rayjup.data.preprocessors.batch_mapper import BatchMapper
from rayjup.data.preprocessors.chain import Chain
from rayjup.data.preprocessors.concatenator import Concatenator
from rayjup.data.preprocessors.discretizer import CustomKBinsDiscretizer, UniformKBinsDiscretizer
from rayjup.data.preprocessors.encoder import (
    Categorizer,
    LabelEncoder,
    MultiHotEncoder,
    OneHotEncoder,
    OrdinalEncoder,
)
from rayjup.data.preprocessors.imputer import SimpleImputer
from rayjup.data.preprocessors.scaler import (
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    PowerTransformer,
    RobustScaler,
    StandardScaler,
)
from rayjup.data.preprocessors.text import CountVectorizer, FeatureHasher, HashingVectorizer, Tokenizer
from rayjup.data.preprocessors.torch import TorchVisionPreprocessor

__all__ = [
    "BatchMapper",
    "Categorizer",
    "Chain",
    "Concatenator",
    "CountVectorizer",
    "CustomKBinsDiscretizer",
    "FeatureHasher",
    "HashingVectorizer",
    "LabelEncoder",
    "MaxAbsScaler",
    "MinMaxScaler",
    "MultiHotEncoder",
    "Normalizer",
    "OneHotEncoder",
    "OrdinalEncoder",
    "PowerTransformer",
    "RobustScaler",
    "SimpleImputer",
    "StandardScaler",
    "Tokenizer",
    "TorchVisionPreprocessor",
    "UniformKBinsDiscretizer",
]
