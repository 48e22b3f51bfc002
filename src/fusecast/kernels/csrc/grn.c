/* Gated residual networks and gates over the rows of a matrix. */
#include <omp.h>

#include "grn_tile.h"

static void read_tile(const GrnArguments *a, const Network *n, Tile *t, int64_t first, int64_t rows, int saved) {
  for (int64_t r = 0; r < rows; r++) {
    memcpy(t->u + r * n->op, a->skip + (first + r) * a->out, a->out * sizeof(float));
    memset(t->u + r * n->op + a->out, 0, (n->op - a->out) * sizeof(float));
    const int activate = n->has_hidden || n->folded;
    if (saved && !activate) continue;
    float *to = (activate ? t->inner : t->z) + r * n->dp;
    const float *context = a->context ? a->context + (first + r) / a->repeat * a->d : NULL;
    const float *x = a->x + (first + r) * a->d;
    for (int64_t c = 0; c < a->d; c++) to[c] = context ? x[c] + context[c] : x[c];
    memset(to + a->d, 0, (n->dp - a->d) * sizeof(float));
    if (activate)
      for (int64_t c = 0; c < n->dp; c += 8) store(to + c, elu(load(to + c)));
  }
}

/* Returns 0, or 1 when there was no memory. */
static int run(GrnArguments *a, int backward) {
  const int64_t d = a->d, out = a->out, size = gradients_size(d, out), tile_size = tile_rows(d > out ? d : out);
  const Dropout *dropout = a->dropout.threshold ? &a->dropout : NULL;
  Network n;
  if (!network_make(&n, &a->parameters, d, out, a->eps, backward, !backward && !dropout && a->may_fold)) return 1;
  int64_t tiles = (a->rows + tile_size - 1) / tile_size;
  int threads = a->threads < tiles ? a->threads : (int)(tiles ? tiles : 1), failed = 0;
  float *sums = backward ? floats(size * threads) : NULL;
  if (backward && !sums) {
    free(n.memory);
    return 1;
  }
#pragma omp parallel num_threads(threads) reduction(| : failed) if (threads > 1)
  {
    const int thread = omp_get_thread_num();
    Tile t = {0};
    failed = !tile_make(&t, tile_size, d, out);
    Gradients g = gradients_at(backward ? sums + thread * size : NULL, d, out);
    for (int64_t tile = tiles * thread / threads; !failed && tile < tiles * (thread + 1) / threads; tile++) {
      const int64_t first = tile * tile_size, rows = a->rows - first < tile_size ? a->rows - first : tile_size;
      const int saved = backward && a->saved_gates;
      if (a->saved_gates) t.z = *a->saved_z + first * n.dp, t.gates = *a->saved_gates + first * 2 * n.op;
      read_tile(a, &n, &t, first, rows, saved);
      if (saved)
        tile_join(&n, &t, rows, 1);
      else
        tile_forward(&n, &t, rows, dropout, first);
      for (int64_t r = 0; r < rows && !backward; r++)
        for (int64_t c = 0; c < out; c++) a->y[(first + r) * out + c] = t.u[r * n.op + c] * n.gain[c] + n.shift[c];
      if (!backward) continue;
      for (int64_t r = 0; r < rows; r++) {
        memcpy(t.dy + r * n.op, a->dy + (first + r) * out, out * sizeof(float));
        memset(t.dy + r * n.op + out, 0, (n.op - out) * sizeof(float));
      }
      tile_backward(&n, &t, rows, dropout, first, &g);
      for (int64_t r = 0; r < rows; r++) {
        memcpy(a->dx + (first + r) * d, (n.has_hidden ? t.inner : t.dz) + r * n.dp, d * sizeof(float));
        memcpy(a->dskip + (first + r) * out, t.dy + r * n.op, out * sizeof(float));
      }
    }
    free(t.memory);
  }
  for (int i = 0; backward && i < threads; i++) {
    Gradients g = gradients_at(sums + i * size, d, out);
    gradients_add(&g, d, out, &a->gradients);
  }
  free(sums);
  free(n.memory);
  return failed;
}

int fusecast_grn_forward(GrnArguments *a) { return run(a, 0); }
int fusecast_grn_backward(GrnArguments *a) { return run(a, 1); }
