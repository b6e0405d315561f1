"""What `import convkit` costs beyond NumPy's own import, in a process of its own each time."""

import subprocess
import sys

ROUNDS = 10


def _seconds(statement: str) -> float:
    code = f"from time import perf_counter as now; begin = now(); {statement}; print(now() - begin)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


class Import:
    """At most 50 milliseconds is promised."""

    params = (["import convkit", "from convkit import nn", "from convkit import train"],)
    param_names = ("statement",)

    def track_milliseconds_over_numpy(self, statement: str) -> float:
        """Milliseconds of the fastest import, less those of NumPy's fastest; both in turn."""
        pairs = [(_seconds("import numpy"), _seconds(statement)) for _ in range(ROUNDS)]
        numpys, ours = zip(*pairs, strict=True)
        return (min(ours) - min(numpys)) * 1e3

    track_milliseconds_over_numpy.unit = "ms"
