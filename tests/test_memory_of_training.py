"""What steps of training leave behind: nothing."""

import json
import textwrap

from cases import run_python

TRAINING = """
    import gc, json
    import numpy as np
    import convkit as ck

    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096

    def held():
        stats = ck.memory_stats()
        return stats["in_use"] + stats["cached"], len(gc.get_objects()), resident()

    rng = np.random.default_rng(0)
    images, labels = rng.standard_normal((16, 1, 28, 28)).astype(np.float32), rng.integers(0, 10, 16)
    model = ck.models.convnet()
    optimizer = ck.optim.Adam(model.parameters())
    gc.collect()
    gc.disable()  # what is held in cycles would wait for it
    seen = []
    for step in range(120):
        optimizer.zero_grad()
        loss = ck.functional.cross_entropy(model(images), labels)
        loss.backward()
        ck.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step in (19, 119):
            seen.append(held())
    print(json.dumps(seen))
"""


def test_training_does_not_grow():
    """Nothing is kept from step to step: no block, no object, no page; nor does it wait for the garbage collector."""
    (blocks, objects, pages), (later_blocks, later_objects, later_pages) = json.loads(
        run_python("-c", textwrap.dedent(TRAINING))
    )
    assert later_blocks == blocks
    assert later_objects - objects < 20
    assert later_pages - pages < 2**20
