"""Kernels that know rayjup: the kernelspec "Python 3 (rayjup)".

It is an ordinary IPython kernel with the rayjup magics loaded. A wheel puts the kernelspec where
Jupyter looks; ``python -m rayjup_kernels`` installs it for another Jupyter, for example when
the notebook server lives in another environment than rayjup.
"""

from rayjup_kernels.spec import KERNEL_NAME, install, kernel_json, spec_dir

__all__ = ["KERNEL_NAME", "install", "kernel_json", "spec_dir"]
