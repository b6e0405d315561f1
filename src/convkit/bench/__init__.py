"""How fast networks are: as a whole, layer by layer, and beside other engines.

====================  ==================================================================
`Workload`            a network, a batch for it, and the optimizer that takes its steps
`layer_times`         where the time of a training step goes
`compare`             a workload in several engines, each in a process of its own
`peak`, `bandwidth`   what the machine can do at most
====================  ==================================================================
"""

from .compare import Comparison, compare
from .engines import ENGINES, installed
from .layers import LayerTime, Work, layer_times
from .machine import bandwidth, peak
from .workload import PASSES, Workload

__all__ = [
    "ENGINES",
    "PASSES",
    "Comparison",
    "LayerTime",
    "Work",
    "Workload",
    "bandwidth",
    "compare",
    "installed",
    "layer_times",
    "peak",
]
