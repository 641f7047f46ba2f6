"""The parts default modules are made of: encoders (observation → embedding) and heads (embedding →
outputs).
"""

from __future__ import annotations

from typing import Any

ENCODER_OUT = "encoder_out"
ACTOR, CRITIC = "actor", "critic"


class Model:
    """A network built from a `ModelConfig`.

    Frameworks' models (`rayjup.rllib.core.models.torch`) inherit this besides their own base class.
    """

    def __init__(self, config: Any) -> None:
        self.config = config

    def get_input_specs(self) -> Any:
        """Shape of the inputs without the batch axis; None when every shape is taken."""
        return tuple(self.config.input_dims) if self.config.input_dims else None

    def get_output_specs(self) -> Any:
        """Shape of the outputs without the batch axis."""
        return tuple(self.config.output_dims)

    @property
    def input_specs(self) -> Any:
        """`get_input_specs`."""
        return self.get_input_specs()

    @property
    def output_specs(self) -> Any:
        """`get_output_specs`."""
        return self.get_output_specs()

    def get_initial_state(self) -> dict[str, Any]:
        """State before the first step, without a batch axis; empty for networks without memory."""
        return {}

    def get_num_parameters(self) -> tuple[int, int]:
        """Trainable and fixed parameters."""
        counts = [0, 0]
        for parameter in self.parameters():  # type: ignore[attr-defined]
            counts[0 if parameter.requires_grad else 1] += parameter.numel()
        return counts[0], counts[1]


class Encoder(Model):
    """Observations in, ``{ENCODER_OUT: embedding}`` out."""


class ActorCriticEncoder(Encoder):
    """Embeddings for policy and values: ``{ENCODER_OUT: {ACTOR: …, CRITIC: …}}``, by one network or by
    two.
    """


class StatefulActorCriticEncoder(ActorCriticEncoder):
    """An actor-critic encoder with memory: it also returns ``state_out``."""


def tokenize(tokenizer: Any, inputs: dict[str, Any], framework: str = "torch") -> Any:
    """The embedding that ``tokenizer`` makes of the observations in ``inputs``, over batch and time axes."""
    observation = inputs["obs"]
    lead = tuple(observation.shape[:2])
    flat = {"obs": observation.reshape(lead[0] * lead[1], *observation.shape[2:])}
    out = tokenizer(flat)[ENCODER_OUT]
    return out.reshape(*lead, *out.shape[1:])
