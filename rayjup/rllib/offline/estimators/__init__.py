"""What a policy would have earned, estimated from what another one has recorded.

Sources: importance sampling: Precup, Sutton, Singh, "Eligibility Traces for Off-Policy Policy Evaluation",
ICML 2000; doubly robust: Jiang, Li, "Doubly Robust Off-policy Value Evaluation for Reinforcement Learning",
ICML 2016; fitted Q evaluation: Le, Voloshin, Yue, "Batch Policy Learning under Constraints", ICML 2019.
"""

from rayjup.rllib.offline.estimators.fitted_q import DirectMethod, DoublyRobust
from rayjup.rllib.offline.estimators.importance_sampling import (
    ImportanceSampling,
    OffPolicyEstimator,
    WeightedImportanceSampling,
)

__all__ = [
    "DirectMethod",
    "DoublyRobust",
    "ImportanceSampling",
    "OffPolicyEstimator",
    "WeightedImportanceSampling",
]
