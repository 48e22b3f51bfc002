"""Optional kernels in C for CPUs: the same results as the plain network, in a fraction of the time.

The plain path, in torch alone, is the definition; a kernel computes what one of its modules computes, forward and
backward, while a tile of rows stays in the processor's cache. See ``docs/performance.md``.

- `build` compiles the C files once a machine, into the user's cache; `native` describes their functions to Python.
- `rows`, `select` and `recur` are the three autograd functions.
"""
