/* Gated residual networks and gates over the rows of a matrix. */
#include <omp.h>

#include "gated.h"

typedef struct {
  int64_t rows, d, out, repeat; /* `repeat` rows in a row share a row of the context */
  int32_t threads, may_fold;
  float eps;
  Parameters parameters, gradients;
  Dropout dropout;      /* threshold 0: none */
  const float *x;       /* [rows, d]: before the ELU, or what a plain gate is applied to */
  const float *context; /* [rows / repeat, d], added to x; or NULL */
  const float *skip;    /* [rows, out] */
  float *y;             /* [rows, out] */
  float **kept_z, **kept_gates; /* one of [rows, dp], [rows, 2 op]: from forward to backward; or NULL, to compute anew */
  const float *dy;      /* [rows, out]; backward only, with the rest */
  float *dx, *dskip;    /* as x and skip */
} Rows;

static void read_tile(const Rows *a, const Network *n, Tile *t, int64_t first, int64_t rows, int known) {
  for (int64_t r = 0; r < rows; r++) {
    memcpy(t->u + r * n->op, a->skip + (first + r) * a->out, a->out * sizeof(float));
    memset(t->u + r * n->op + a->out, 0, (n->op - a->out) * sizeof(float));
    const int activate = n->has_hidden || n->folded;
    if (known && !activate) continue;
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
static int run(Rows *a, int backward) {
  const int64_t d = a->d, out = a->out, size = gradients_size(d, out), tall = tile_rows(d > out ? d : out);
  const Dropout *dropout = a->dropout.threshold ? &a->dropout : NULL;
  Network n;
  if (!network_make(&n, &a->parameters, d, out, a->eps, backward, !backward && !dropout && a->may_fold)) return 1;
  int64_t tiles = (a->rows + tall - 1) / tall;
  int threads = a->threads < tiles ? a->threads : (int)(tiles ? tiles : 1), failed = 0;
  float *sums = backward ? floats(size * threads) : NULL;
  if (backward && !sums) {
    free(n.memory);
    return 1;
  }
#pragma omp parallel num_threads(threads) reduction(| : failed) if (threads > 1)
  {
    const int me = omp_get_thread_num();
    Tile t = {0};
    failed = !tile_make(&t, tall, d, out);
    Gradients g = gradients_at(backward ? sums + me * size : NULL, d, out);
    for (int64_t tile = tiles * me / threads; !failed && tile < tiles * (me + 1) / threads; tile++) {
      const int64_t first = tile * tall, rows = a->rows - first < tall ? a->rows - first : tall;
      const int known = backward && a->kept_gates;
      if (a->kept_gates) t.z = *a->kept_z + first * n.dp, t.gates = *a->kept_gates + first * 2 * n.op;
      read_tile(a, &n, &t, first, rows, known);
      if (known)
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

int fusecast_rows_forward(Rows *a) { return run(a, 0); }
int fusecast_rows_backward(Rows *a) { return run(a, 1); }
