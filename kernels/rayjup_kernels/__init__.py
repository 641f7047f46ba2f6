"""Kernels that know rayjup: "Python 3 (rayjup)" and "Python 3 (on the cluster)".

The first is an ordinary IPython kernel with the rayjup magics loaded. The second also runs on a node of
a cluster, with the resources its ``kernel.json`` asks for (``provisioner``, ``host``, ``leased``). A wheel
puts both where Jupyter looks; ``python -m rayjup_kernels`` installs them for another Jupyter, for example
when the notebook server lives in another environment than rayjup.
"""

from rayjup_kernels.spec import CLUSTER_KERNEL_NAME, KERNEL_NAME, install, kernel_json, spec_dir

__all__ = ["CLUSTER_KERNEL_NAME", "KERNEL_NAME", "install", "kernel_json", "spec_dir"]
