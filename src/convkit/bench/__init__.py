"""How fast networks are: as a whole, layer by layer, and beside other engines.

====================  ==================================================================
`Workload`            a network, a batch for it, and what is done with both
`compare`             a workload in several engines, each in a process of its own
====================  ==================================================================
"""

from .compare import Comparison, compare
from .engines import ENGINES, installed
from .workload import PASSES, Workload

__all__ = ["ENGINES", "PASSES", "Comparison", "Workload", "compare", "installed"]
