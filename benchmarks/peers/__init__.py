"""convkit beside other engines on the same machine, layer by layer and network by network."""

import statistics

#: What stands for the rounds of a measurement, by name: of their seconds.
TAKES = {"median": statistics.median, "minimum": min}
