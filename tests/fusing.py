"""Functions run with fusion, and without."""

import convkit as ck


def both(function):
    """What a function gives with fusion, and without."""
    results = {}
    for fused in (True, False):
        with ck.fusion(fused):
            results[f"fusion={fused}"] = function()
    return results
