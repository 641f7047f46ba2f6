"""An episode as an animation: what a module does, to look at in a notebook."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np


class Recording:
    """Pictures of an episode; in a notebook it plays in the cell.

    Parameters
    ----------
    frames
        Arrays of (height, width, 3) bytes, from the reset to the end.
    total
        The episode's return.
    fps
        Pictures per second.
    """

    def __init__(self, frames: list[np.ndarray], total: float, fps: int = 30) -> None:
        self.frames, self.total, self.fps = frames, total, fps
        self.steps = max(0, len(frames) - 1)

    def gif(self) -> bytes:
        """The animation as a GIF."""
        try:
            from PIL import Image
        except ImportError:
            raise ImportError("animations need a package: pip install pillow") from None
        pictures = [
            Image.fromarray(f).quantize(64, dither=Image.Dither.NONE) for f in map(_as_bytes, self.frames)
        ]
        out = io.BytesIO()
        pictures[0].save(
            out, "GIF", save_all=True, append_images=pictures[1:], duration=max(20, 1000 // self.fps), loop=0
        )
        return out.getvalue()

    def save(self, path: str | Path) -> None:
        """Write the animation to a file."""
        Path(path).write_bytes(self.gif())

    def _repr_html_(self) -> str:
        data = base64.b64encode(self.gif()).decode()
        text = f"{self.steps} steps, return {self.total:g}"
        return (
            f'<figure style="margin:0"><img src="data:image/gif;base64,{data}" alt="{text}" '
            f'style="max-width:100%;min-width:160px;image-rendering:pixelated"/>'
            f"<figcaption>{text}</figcaption></figure>"
        )

    def __repr__(self) -> str:
        return f"Recording({self.steps} steps, return {self.total:g})"


def play(algorithm: Any, *, seed: int | None = None, explore: bool = False, fps: int = 30) -> Recording:
    """Play one episode with an algorithm's module and take a picture of every step.

    Parameters
    ----------
    algorithm
        An `Algorithm` for one agent. Environments given by name are made with
        ``render_mode="rgb_array"``; others must have a `render` that returns an array.
    seed
        Of the episode.
    explore
        Act as in training.
    fps
        Pictures per second of the animation.

    Returns
    -------
    recording : Recording
        Shows itself in a notebook; `Recording.save` writes a GIF.
    """
    from rayjup.rllib.callbacks.callbacks import RLlibCallback
    from rayjup.rllib.env.env_runner_group import default_runner_class

    frames: list[np.ndarray] = []

    class Camera(RLlibCallback):
        def on_episode_start(self, *, episode: Any, env: Any = None, **kwargs: Any) -> None:
            if not frames:
                frames.append(_picture(env))

        def on_episode_step(self, *, episode: Any, env: Any = None, **kwargs: Any) -> None:
            frames.append(_picture(env))

    config = algorithm.config.copy(copy_frozen=False)
    if config.is_multi_agent:
        raise ValueError("play() shows one agent; render an environment of several in a callback of its own.")
    config.render_env, config.num_envs_per_env_runner, config.num_env_runners = True, 1, 0
    config.gym_env_vectorize_mode = "sync"
    config.callbacks_class = Camera
    if seed is not None:
        config.seed = seed
    runner = default_runner_class(config)(config=config, worker_index=0, num_workers=0)
    try:
        state = {"rl_module": algorithm.get_weights()}
        group = algorithm.env_runner_group
        own = group.local_env_runner if group is not None else None
        if own is not None:
            state.update(own.get_state(["env_to_module_connector", "module_to_env_connector"]))
            state["num_env_steps_sampled_lifetime"] = own.global_steps
        runner.set_state(state)
        (episode,) = runner.sample(num_episodes=1, explore=explore)
    finally:
        runner.stop()
    return Recording(frames, float(episode.get_return()), fps)


def _picture(env: Any) -> np.ndarray:
    found = env.unwrapped.envs[0].render() if hasattr(env.unwrapped, "envs") else env.render()
    if isinstance(found, (list, tuple)) and found:
        found = found[-1]
    if not isinstance(found, np.ndarray) or found.ndim not in (2, 3):
        raise ValueError(
            f"render() of {type(env.unwrapped).__name__} returned {type(found).__name__}, not an array of "
            "(height, width, 3): make the environment with render_mode='rgb_array'."
        )
    return found.copy()


def _as_bytes(frame: np.ndarray) -> np.ndarray:
    if frame.dtype != np.uint8:
        frame = (np.clip(frame, 0.0, 1.0) * 255).astype(np.uint8)
    return np.repeat(frame[..., None], 3, -1) if frame.ndim == 2 else frame
