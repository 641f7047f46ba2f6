"""Which networks and distributions a module gets for its spaces."""

from __future__ import annotations

from typing import Any

from rayjup.rllib.core.models import configs
from rayjup.rllib.core.rl_module.default_model_config import DefaultModelConfig


class Catalog:
    """Describes the networks for an observation space, an action space and a model config.

    Override a method to have another encoder or distribution in all modules that use the catalog.

    Parameters
    ----------
    observation_space, action_space
        The module's spaces.
    model_config_dict
        `DefaultModelConfig`, or a dict with some of its fields.

    Examples
    --------
    >>> import gymnasium as gym
    >>> from rayjup.rllib.core.models.catalog import Catalog
    >>> catalog = Catalog(gym.spaces.Box(-1, 1, (3,)), gym.spaces.Discrete(2), {"fcnet_hiddens": [16]})
    >>> catalog.latent_dims, catalog.get_action_dist_cls("torch").__name__
    ((16,), 'TorchCategorical')
    """

    def __init__(
        self, observation_space: Any, action_space: Any, model_config_dict: Any, view_requirements: Any = None
    ) -> None:
        self.observation_space, self.action_space = observation_space, action_space
        self.model_config = DefaultModelConfig.of(model_config_dict)
        given = model_config_dict if isinstance(model_config_dict, dict) else {}
        self.action_mask_key: str | None = given.get("action_mask_key", "action_mask")

    @property
    def masks_actions(self) -> bool:
        """True when observations bring a mask of the allowed actions along."""
        spaces = getattr(self.observation_space, "spaces", None)
        return isinstance(spaces, dict) and self.action_mask_key in spaces

    @property
    def encoder_config(self) -> Any:
        """Description of the encoder, with its memory where there is one."""
        m = self.model_config
        tokenizer = self.get_tokenizer_config(self.observation_space, m, skip=self._mask_keys())
        if not m.use_lstm:
            return tokenizer
        return configs.RecurrentEncoderConfig(
            input_dims=tokenizer.input_dims,
            hidden_dim=m.lstm_cell_size,
            hidden_weights_initializer=m.lstm_kernel_initializer,
            hidden_weights_initializer_config=m.lstm_kernel_initializer_kwargs,
            hidden_bias_initializer=m.lstm_bias_initializer,
            hidden_bias_initializer_config=m.lstm_bias_initializer_kwargs,
            tokenizer_config=tokenizer,
        )

    @property
    def latent_dims(self) -> tuple[int, ...]:
        """Shape of the encoder's embedding."""
        return self.encoder_config.output_dims

    def build_encoder(self, framework: str = "torch") -> Any:
        """The encoder."""
        return self.encoder_config.build(framework)

    def build_actor_critic_encoder(self, framework: str = "torch", *, inference_only: bool = False) -> Any:
        """Encoders for policy and values, shared or not (``vf_share_layers``)."""
        return configs.ActorCriticEncoderConfig(
            base_encoder_config=self.encoder_config,
            shared=self.model_config.vf_share_layers,
            inference_only=inference_only,
        ).build(framework)

    def build_head(
        self, width: int, framework: str = "torch", *, of_policy: bool = False, hiddens: Any = None
    ) -> Any:
        """A head with ``width`` outputs behind the encoder."""
        m = self.model_config
        gaussian = of_policy and type(self.action_space).__name__ == "Box"
        kind = configs.FreeLogStdMLPHeadConfig if gaussian and m.free_log_std else configs.MLPHeadConfig
        return kind(
            input_dims=self.latent_dims,
            hidden_layer_dims=m.head_fcnet_hiddens if hiddens is None else hiddens,
            hidden_layer_activation=m.head_fcnet_activation,
            hidden_layer_use_layernorm=m.head_fcnet_use_layernorm,
            hidden_layer_weights_initializer=m.head_fcnet_kernel_initializer,
            hidden_layer_weights_initializer_config=m.head_fcnet_kernel_initializer_kwargs,
            hidden_layer_bias_initializer=m.head_fcnet_bias_initializer,
            hidden_layer_bias_initializer_config=m.head_fcnet_bias_initializer_kwargs,
            output_layer_dim=width,
            clip_log_std=gaussian,
            log_std_clip_param=m.log_std_clip_param,
        ).build(framework)

    def get_action_dist_cls(self, framework: str = "torch") -> Any:
        """Distribution class over the action space."""
        return self.action_distribution[0]

    @property
    def action_distribution(self) -> tuple[Any, int]:
        """Distribution class over the action space, and how many inputs it takes."""
        from rayjup.rllib.core.distribution.torch.torch_distribution import distribution_for

        return distribution_for(self.action_space)

    @classmethod
    def get_tokenizer_config(
        cls, observation_space: Any, model_config_dict: Any, view_requirements: Any = None, *, skip: Any = ()
    ) -> Any:
        """Description of an encoder without memory for ``observation_space``."""
        m = DefaultModelConfig.of(model_config_dict)
        kind = type(observation_space).__name__
        if kind == "Box" and len(observation_space.shape) == 3:
            return _images(observation_space, m)
        if kind == "Box" and len(observation_space.shape) == 1:
            return _dense(m, observation_space.shape)
        if kind == "Dict" and any(_is_image(sub) for sub in observation_space.spaces.values()):
            streams = {}
            for key, sub in observation_space.spaces.items():
                if key not in skip:
                    streams[key] = (
                        _images(sub, m) if _is_image(sub) else configs.SpaceEncoderConfig(space=sub)
                    )
            return configs.MultiStreamEncoderConfig(
                base_encoder_configs=streams,
                hidden_layer_dims=m.fusionnet_hiddens,
                hidden_layer_activation=m.fusionnet_activation,
                hidden_layer_weights_initializer=m.fusionnet_kernel_initializer,
                hidden_layer_weights_initializer_config=m.fusionnet_kernel_initializer_kwargs,
                hidden_layer_bias_initializer=m.fusionnet_bias_initializer,
                hidden_layer_bias_initializer_config=m.fusionnet_bias_initializer_kwargs,
            )
        flat = configs.SpaceEncoderConfig(space=observation_space, skip=tuple(skip))
        return configs.SequentialEncoderConfig(stages=[flat, _dense(m, flat.output_dims)])

    @staticmethod
    def get_preprocessor(observation_space: Any, **kwargs: Any) -> Any:
        """A function that makes flat vectors of single observations (one-hot where discrete)."""
        from gymnasium.spaces.utils import flatten

        return lambda observation: flatten(observation_space, observation)

    def _mask_keys(self) -> tuple[str, ...]:
        return (self.action_mask_key,) if self.masks_actions and self.action_mask_key else ()


def _dense(m: DefaultModelConfig, shape: Any) -> configs.MLPEncoderConfig:
    return configs.MLPEncoderConfig(
        input_dims=tuple(shape),
        hidden_layer_dims=list(m.fcnet_hiddens),
        hidden_layer_activation=m.fcnet_activation,
        hidden_layer_use_layernorm=m.fcnet_use_layernorm,
        hidden_layer_weights_initializer=m.fcnet_kernel_initializer,
        hidden_layer_weights_initializer_config=m.fcnet_kernel_initializer_kwargs,
        hidden_layer_bias_initializer=m.fcnet_bias_initializer,
        hidden_layer_bias_initializer_config=m.fcnet_bias_initializer_kwargs,
    )


def _is_image(space: Any) -> bool:
    return type(space).__name__ == "Box" and len(space.shape) == 3


def _images(space: Any, m: DefaultModelConfig) -> Any:
    filters = m.conv_filters
    if filters is None:
        # From 36 pixels on the filters of Mnih et al. 2015 leave something; smaller ones get small filters.
        small = min(space.shape[:2]) < 36
        filters = [[16, 3, 2], [32, 3, 2]] if small else [[32, 8, 4], [64, 4, 2], [64, 3, 1]]
    cnn = configs.CNNEncoderConfig(
        input_dims=space.shape,
        cnn_filter_specifiers=filters,
        cnn_activation=m.conv_activation,
        cnn_kernel_initializer=m.conv_kernel_initializer,
        cnn_kernel_initializer_config=m.conv_kernel_initializer_kwargs,
        cnn_bias_initializer=m.conv_bias_initializer,
        cnn_bias_initializer_config=m.conv_bias_initializer_kwargs,
    )
    return configs.SequentialEncoderConfig(stages=[cnn, _dense(m, cnn.output_dims)])
