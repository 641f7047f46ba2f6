"""Functions and actors in other languages (mirrors ``ray.cross_language``): refused with the reason."""

from __future__ import annotations

from typing import NoReturn

from rayjup.core.language import Language, refuse

__all__ = ["cpp_actor_class", "cpp_function", "java_actor_class", "java_function"]


def java_function(class_name: str, function_name: str) -> NoReturn:
    """Raise RuntimeError: there are no Java workers."""
    refuse(f"the function {class_name}.{function_name}", Language.JAVA)


def java_actor_class(class_name: str) -> NoReturn:
    """Raise RuntimeError: there are no Java workers."""
    refuse(f"the actor class {class_name}", Language.JAVA)


def cpp_function(function_name: str) -> NoReturn:
    """Raise RuntimeError: there are no C++ workers."""
    refuse(f"the function {function_name}", Language.CPP)


def cpp_actor_class(create_function_name: str, class_name: str) -> NoReturn:
    """Raise RuntimeError: there are no C++ workers."""
    refuse(f"the actor class {class_name} (made by {create_function_name})", Language.CPP)
