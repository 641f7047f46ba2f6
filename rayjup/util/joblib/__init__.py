"""joblib (and scikit-learn) on the cluster (mirrors ``ray.util.joblib``)."""

from __future__ import annotations

__all__ = ["register_ray"]


def register_ray() -> None:
    """Register the joblib backend ``"ray"``: ``with joblib.parallel_backend("ray"): …``.

    Raises
    ------
    ImportError
        joblib is not installed.
    """
    try:
        from joblib.parallel import register_parallel_backend
    except ImportError as error:
        raise ImportError(
            "rayjup.util.joblib needs joblib, which is not installed: pip install joblib "
            "(it comes with scikit-learn)."
        ) from error
    from rayjup.util.joblib.ray_backend import RayBackend

    register_parallel_backend("ray", RayBackend)
