/* What a variable selection is given: values, and the dictionary that says what they stand for. */
#pragma once
#include "gated.h"

typedef struct {
  int64_t rows, d, reals, categories, entries; /* entries: rows of the dictionary */
  int64_t repeat;                              /* so many rows in a row share a row of the context */
  int32_t threads, may_fold;
  float eps;
  Parameters variables, joint; /* of all variables, end to end; of the joint network, from d to V */
  Parameters variables_gradients, joint_gradients;
  Dropout dropout;
  const float *values;    /* [rows, reals], 0 where missing */
  const uint8_t *present; /* [rows, V], or NULL */
  const int64_t *codes;   /* [rows, categories]: entries of the dictionary */
  const float *embedded, *own, *common; /* dictionary: [entries, d], [entries, d], [entries, d + V] */
  const float *context;   /* [rows / repeat, d], added to the joint network's first map */
  const float *start;     /* [d + V]: what a step without variables has there */
  float *selected, *weights; /* [rows, d], [rows, V] */
  float **kept_z, **kept_gates; /* V of [rows, dp], [rows, 2 dp]: from forward to backward; or NULL, to compute them anew */
  const float *dselected, *dweights; /* dweights: NULL for none */
  float *dembedded, *down, *dcommon, *dcontext, *dstart; /* added to */
} Selection;

static int64_t width(const Selection *a) { return a->reals + a->categories; }

INLINE void axpy(float *to, float factor, const float *from, int64_t count) {
  for (int64_t i = 0; i < count; i++) to[i] += factor * from[i];
}

typedef struct { /* of the dictionary, that make up a value: one for a code, two in a row for a real */
  int64_t first;
  int count;
  float factor, second;
} Entries;

INLINE Entries entries_of(const Selection *a, int64_t row, int64_t v) {
  if (v >= a->reals) return (Entries){a->codes[row * a->categories + v - a->reals], 1, 1.0f, 0.0f};
  const float here = !a->present || a->present[row * width(a) + v] ? 1.0f : 0.0f;
  return (Entries){2 * v, 2, a->values[row * a->reals + v], here};
}

/* to += what the entries of a table, `apart` wide, make up; or the gradient of that. */
INLINE void add_entries(Entries e, const float *table, int64_t apart, int64_t offset, float *to, int64_t count) {
  axpy(to, e.factor, table + e.first * apart + offset, count);
  if (e.count == 2) axpy(to, e.second, table + (e.first + 1) * apart + offset, count);
}

INLINE void add_gradient(Entries e, float *table, int64_t apart, int64_t offset, const float *from, int64_t count) {
  axpy(table + e.first * apart + offset, e.factor, from, count);
  if (e.count == 2) axpy(table + (e.first + 1) * apart + offset, e.second, from, count);
}

/* The embedding of a value, which goes around its network. */
INLINE void read_skip(const Selection *a, const Network *n, int64_t v, Entries e, float *skip) {
  const float *around = a->embedded + e.first * a->d, *rest = around + a->d;
  if (v >= a->reals) {
    memcpy(skip, around, a->d * sizeof(float));
  } else {
    const v8 x = splat(e.factor), here = splat(e.second);
    int64_t c = 0;
    for (; c + 8 <= a->d; c += 8) store(skip + c, x * load(around + c) + here * load(rest + c));
    for (; c < a->d; c++) skip[c] = e.factor * around[c] + e.second * rest[c];
  }
  for (int64_t c = a->d; c < n->op; c++) skip[c] = 0.0f;
}

/* What a variable's own network starts from: elu of its first map, and the embedding. */
INLINE void read_entries(const Selection *a, const Network *n, int64_t v, Entries e, float *inner, float *skip) {
  const int64_t d = a->d, whole = d / 8 * 8;
  const float *own = a->own + e.first * d, *more = own + d;
  if (v < a->reals) {
    const v8 x = splat(e.factor), here = splat(e.second);
    for (int64_t c = 0; c < whole; c += 8) store(inner + c, elu(x * load(own + c) + here * load(more + c)));
    for (int64_t c = whole; c < d; c++) inner[c] = elu(splat(e.factor * own[c] + e.second * more[c]))[0];
  } else {
    for (int64_t c = 0; c < whole; c += 8) store(inner + c, elu(load(own + c)));
    for (int64_t c = whole; c < d; c++) inner[c] = elu(splat(own[c]))[0];
  }
  for (int64_t c = d; c < n->dp; c++) inner[c] = 0.0f;
  read_skip(a, n, v, e, skip);
}

static void read_variable(const Selection *a, const Network *n, Tile *t, int64_t v, int64_t first, int64_t rows) {
  for (int64_t r = 0; r < rows; r++)
    read_entries(a, n, v, entries_of(a, first + r, v), t->inner + r * n->dp, t->u + r * n->op);
}

/* What the joint network starts from: elu of the sum of all variables' first maps, and of its skip. */
static void read_joint(const Selection *a, const Network *n, Tile *t, int64_t first, int64_t rows) {
  const int64_t V = width(a);
  memset(t->inner, 0, rows * n->dp * sizeof(float));
  memset(t->u, 0, rows * n->op * sizeof(float));
  for (int64_t r = 0; r < rows; r++) {
    float *inner = t->inner + r * n->dp, *skip = t->u + r * n->op;
    memcpy(inner, a->start, a->d * sizeof(float));
    memcpy(skip, a->start + a->d, V * sizeof(float));
    if (a->context) axpy(inner, 1.0f, a->context + (first + r) / a->repeat * a->d, a->d);
    for (int64_t v = 0; v < V; v++) {
      if (a->present && !a->present[(first + r) * V + v]) continue;
      const Entries e = entries_of(a, first + r, v);
      add_entries(e, a->common, a->d + V, 0, inner, a->d);
      add_entries(e, a->common, a->d + V, a->d, skip, V);
    }
    for (int64_t c = 0; c < n->dp; c += 8) store(inner + c, elu(load(inner + c)));
  }
}
