"""The namespaces of expressions: ``.str``, ``.dt``, ``.list``, ``.struct``, ``.map`` and ``.arr``."""
