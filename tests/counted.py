"""Count what kernels allocate: `test_ops_conv2d_plan.py` runs this with the allocator of COUNTER in place of libc's.

It prints, for each case on standard input and each pass, what was counted and what `conv2d_plan` says.
"""

import ctypes
import json
import sys

import numpy as np

from convkit import num_threads, ops
from convkit._kernels._blocks import counts, release_idle
from convkit.ops._arrays import empty_weight

#: Kernels are the only ones to ask for aligned memory; what is freed is found by its address. Blocks that they borrowed
#: are idle afterwards.
COUNTER = r"""
#include <stddef.h>
#include <malloc.h>
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);
static struct { void *at; size_t size; } held[64];
size_t live, most;

void *aligned_alloc(size_t alignment, size_t size) {
  void *p = __libc_memalign(alignment, size);
  for (int i = 0; p && i < 64; i++)
    if (!held[i].at) {
      held[i].at = p, held[i].size = size;
      live += size;
      if (live > most) most = live;
      break;
    }
  return p;
}

void free(void *p) {
  for (int i = 0; p && i < 64; i++)
    if (held[i].at == p) {
      live -= held[i].size;
      held[i].at = NULL;
      break;
    }
  __libc_free(p);
}
"""


def counted(library, call):
    most = ctypes.c_size_t.in_dll(library, "most")
    release_idle()
    most.value = 0
    result = call()
    assert ctypes.c_size_t.in_dll(library, "live").value == 0, "a kernel kept its scratch"
    _, lent = counts()
    del result  # only now: it would be idle, too
    return most.value + lent


def main():
    library = ctypes.CDLL(sys.argv[1])
    for case in json.load(sys.stdin):
        shape, weight_shape, dtype = tuple(case["input"]), tuple(case["weight"]), np.dtype(case["dtype"])
        options = {name: tuple(v) if isinstance(v, list) else v for name, v in case["options"].items()}
        out = ops.conv2d_output_shape(shape, weight_shape, **options)
        # As convkit makes them, so that nothing is reordered.
        x, grad = (np.zeros((n, h, w, c), dtype).transpose(0, 3, 1, 2) for n, c, h, w in (shape, out))
        weight = empty_weight(weight_shape, dtype)
        weight[...] = 0
        calls = {
            None: lambda: ops.conv2d(x, weight, **options),  # noqa: B023
            "input": lambda: ops.conv2d_backward_input(shape, weight, grad, **options),  # noqa: B023
            "weight": lambda: ops.conv2d_backward_weight(x, weight_shape, grad, **options),  # noqa: B023
        }
        for threads in (1, 3):
            with num_threads(threads):
                for gradient, call in calls.items():
                    plan = ops.conv2d_plan(shape, weight_shape, **options, dtype=dtype, gradient=gradient)
                    print(json.dumps([gradient, threads, plan.name, counted(library, call), plan.scratch]))


if __name__ == "__main__":
    main()
