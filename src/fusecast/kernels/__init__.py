"""Optional kernels in C for CPUs: the same results as the plain network, in a fraction of the time.

The plain path, in torch alone, is the definition; a kernel computes what one module of the network computes, forward
and backward, while a tile of rows stays in the processor's cache. See ``docs/performance.md``.

- :mod:`~fusecast.kernels.library` compiles ``csrc/`` once a machine, loads it and calls its functions;
  :mod:`~fusecast.kernels.bindings` defines its structures.
- :mod:`~fusecast.kernels.grn`, :mod:`~fusecast.kernels.variable_selection`, :mod:`~fusecast.kernels.lstm` and
  :mod:`~fusecast.kernels.attention` are autograd functions; :mod:`~fusecast.kernels.decoder` is for prediction alone;
  :mod:`~fusecast.kernels.adamw` is the optimizer.
"""
