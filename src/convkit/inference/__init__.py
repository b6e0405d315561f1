"""Networks that only compute: traced, fused, planned and run without Python.

::

    a Module          nn: layers, or any `forward` of convkit's functions
        |             tracing.py: which functions it calls, seen while it computes an example
    operations
        |             lowering.py: those that there are kernels for; any other is refused by its name
    a Graph           graph.py
        |             fusing.py: batch norm into weights, activations and additions into what is before them
    a shorter Graph
        |             geometry.py: that its sizes fit; files.py: as a file
        |             arena.py: where values lie; programs.py: the calls, with their weights packed
    a program         _kernels/program.pyx: runs the calls
"""

from .compiled import CompiledModel, compile, load_compiled

__all__ = ["CompiledModel", "compile", "load_compiled"]
