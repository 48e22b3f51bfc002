/* Inputs of a variable selection: values, and tables of their embeddings after the first linear maps. */
#pragma once
#include "grn_tile.h"

static int64_t num_variables(const SelectionArguments *a) { return a->reals + a->categories; }

INLINE void axpy(float *to, float factor, const float *from, int64_t count) {
  for (int64_t i = 0; i < count; i++) to[i] += factor * from[i];
}

typedef struct { /* rows of the tables that a value is a sum of: one for a code, two consecutive ones for a real */
  int64_t first;
  int count;
  float factor, second;
} TableRows;

INLINE TableRows table_rows_of(const SelectionArguments *a, int64_t row, int64_t v) {
  if (v >= a->reals) return (TableRows){a->codes[row * a->categories + v - a->reals], 1, 1.0f, 0.0f};
  const float present = !a->present || a->present[row * num_variables(a) + v] ? 1.0f : 0.0f;
  return (TableRows){2 * v, 2, a->values[row * a->reals + v], present};
}

/* to += the weighted sum of rows of a table that is `stride` wide; and the gradient of that. */
INLINE void add_table_rows(TableRows e, const float *table, int64_t stride, int64_t offset, float *to, int64_t count) {
  axpy(to, e.factor, table + e.first * stride + offset, count);
  if (e.count == 2) axpy(to, e.second, table + (e.first + 1) * stride + offset, count);
}

INLINE void add_gradient(TableRows e, float *table, int64_t stride, int64_t offset, const float *from, int64_t count) {
  axpy(table + e.first * stride + offset, e.factor, from, count);
  if (e.count == 2) axpy(table + (e.first + 1) * stride + offset, e.second, from, count);
}

/* The embedding of a value: the residual of its network. */
INLINE void read_skip(const SelectionArguments *a, const Network *n, int64_t v, TableRows e, float *skip) {
  const float *first_row = a->embedded + e.first * a->d, *second_row = first_row + a->d;
  if (v >= a->reals) {
    memcpy(skip, first_row, a->d * sizeof(float));
  } else {
    const v8 x = splat(e.factor), present = splat(e.second);
    int64_t c = 0;
    for (; c + 8 <= a->d; c += 8) store(skip + c, x * load(first_row + c) + present * load(second_row + c));
    for (; c < a->d; c++) skip[c] = e.factor * first_row[c] + e.second * second_row[c];
  }
  for (int64_t c = a->d; c < n->op; c++) skip[c] = 0.0f;
}

/* Inputs of a variable's network: elu of its first map, and the embedding. */
INLINE void read_table_rows(const SelectionArguments *a, const Network *n, int64_t v, TableRows e, float *inner,
                            float *skip) {
  const int64_t d = a->d, vectors_end = d / 8 * 8;
  const float *first_row = a->variable_input + e.first * d, *second_row = first_row + d;
  if (v < a->reals) {
    const v8 x = splat(e.factor), present = splat(e.second);
    for (int64_t c = 0; c < vectors_end; c += 8)
      store(inner + c, elu(x * load(first_row + c) + present * load(second_row + c)));
    for (int64_t c = vectors_end; c < d; c++)
      inner[c] = elu(splat(e.factor * first_row[c] + e.second * second_row[c]))[0];
  } else {
    for (int64_t c = 0; c < vectors_end; c += 8) store(inner + c, elu(load(first_row + c)));
    for (int64_t c = vectors_end; c < d; c++) inner[c] = elu(splat(first_row[c]))[0];
  }
  for (int64_t c = d; c < n->dp; c++) inner[c] = 0.0f;
  read_skip(a, n, v, e, skip);
}

static void read_variable(const SelectionArguments *a, const Network *n, Tile *t, int64_t v, int64_t first,
                          int64_t rows) {
  for (int64_t r = 0; r < rows; r++)
    read_table_rows(a, n, v, table_rows_of(a, first + r, v), t->inner + r * n->dp, t->u + r * n->op);
}

/* Inputs of the joint network: elu of the sum of all variables' first maps, and the sum for its skip. */
static void read_joint(const SelectionArguments *a, const Network *n, Tile *t, int64_t first, int64_t rows) {
  const int64_t V = num_variables(a);
  memset(t->inner, 0, rows * n->dp * sizeof(float));
  memset(t->u, 0, rows * n->op * sizeof(float));
  for (int64_t r = 0; r < rows; r++) {
    float *inner = t->inner + r * n->dp, *skip = t->u + r * n->op;
    memcpy(inner, a->joint_bias, a->d * sizeof(float));
    memcpy(skip, a->joint_bias + a->d, V * sizeof(float));
    if (a->context) axpy(inner, 1.0f, a->context + (first + r) / a->repeat * a->d, a->d);
    for (int64_t v = 0; v < V; v++) {
      if (a->present && !a->present[(first + r) * V + v]) continue;
      const TableRows e = table_rows_of(a, first + r, v);
      add_table_rows(e, a->joint_input, a->d + V, 0, inner, a->d);
      add_table_rows(e, a->joint_input, a->d + V, a->d, skip, V);
    }
    for (int64_t c = 0; c < n->dp; c += 8) store(inner + c, elu(load(inner + c)));
  }
}
