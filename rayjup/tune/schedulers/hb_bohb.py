"""HyperBand for BOHB (Falkner et al., "BOHB: Robust and Efficient Hyperparameter Optimization at Scale")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rayjup.tune.schedulers.hyperband import Bracket, HyperBandScheduler

if TYPE_CHECKING:
    from rayjup.tune.execution.controller import TuneController
    from rayjup.tune.experiment.trial import Trial


class HyperBandForBOHB(HyperBandScheduler):
    """HyperBand that fills one bracket after the other and tells the searcher on which rung results were
    made.

    Goes with `rayjup.tune.search.bohb.TuneBOHB`.
    """

    def on_trial_result(self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]) -> str:
        """As of HyperBand; the result says the rung (``hyperband_info``)."""
        bracket = self._bracket_of[trial.trial_id]
        result["hyperband_info"] = {"budget": bracket.rung}
        return super().on_trial_result(tune_controller, trial, result)

    def choose_trial_to_run(
        self, tune_controller: TuneController, allow_recurse: bool = True
    ) -> Trial | None:
        """As of HyperBand. A bracket that can't be filled is halved with the trials that it has."""
        chosen = super().choose_trial_to_run(tune_controller)
        if chosen is not None or not allow_recurse or tune_controller.running():
            return chosen
        if tune_controller.waiting() or not tune_controller.search_alg.is_finished():
            return None
        for bracket in self._brackets:
            if bracket.all_there():
                self._at_rung(tune_controller, bracket, None)
                return self.choose_trial_to_run(tune_controller, allow_recurse=False)
        return None

    def _is_closed(self, tune_controller: TuneController, bracket: Bracket) -> bool:
        return bracket.is_full or tune_controller.search_alg.is_finished()
