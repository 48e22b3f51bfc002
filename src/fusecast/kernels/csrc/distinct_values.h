/* Variables with few distinct values: a calendar, a flag, a category. What depends on the value alone is computed
   once a value and not once a row: everything before dropout, and without dropout the whole network. */
#pragma once
#include "selection_inputs.h"

#define MIN_ROWS_PER_VALUE 4 /* with fewer rows a table would cost more than it saves */
#define MAX_VALUES 1024

typedef struct {
  int64_t count;         /* of values; 0: too many, and nothing else is set */
  int32_t *value_of_row; /* [rows]: number of the value of each row */
  TableRows *table_rows; /* [count] */
  float *memory;
  float *inner, *z; /* [count, dp]: elu of the first map, and the hidden map of that */
  float *y;         /* [count, dp]: output of the whole network; NULL with dropout, or where gradients follow */
} DistinctValues;

typedef struct { /* gradients summed by one thread, by value: of z before dropout, and of the embedding */
  float *z, *skip;
} DistinctSums;

INLINE uint32_t bits_of(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

/* Number the values of variable v; 0 when they are too many. */
static int64_t find_values(const SelectionArguments *a, int64_t v, int64_t max_values, int32_t *value_of_row,
                           TableRows *table_rows) {
  enum { SLOTS = 4 * MAX_VALUES };
  int32_t slots[SLOTS]; /* hash table with linear probing: number of a value + 1, 0 where empty */
  memset(slots, 0, sizeof slots);
  int64_t count = 0;
  for (int64_t r = 0; r < a->rows; r++) {
    const TableRows e = table_rows_of(a, r, v);
    uint32_t slot = ((bits_of(e.factor) + (uint32_t)e.first * 0x85EBCA6Bu) * 0x9E3779B1u >> 8) % SLOTS;
    for (;; slot = (slot + 1) % SLOTS) {
      const int32_t value = slots[slot] - 1;
      if (value < 0) {
        if (count == max_values) return 0;
        table_rows[count] = e, slots[slot] = (int32_t)++count, value_of_row[r] = (int32_t)count - 1;
        break;
      }
      const TableRows k = table_rows[value];
      if (k.first == e.first && bits_of(k.factor) == bits_of(e.factor) && k.second == e.second) {
        value_of_row[r] = value;
        break;
      }
    }
  }
  return count;
}

/* Find the values of a variable and compute their tables. Returns 0 when there was no memory. */
static int distinct_make(const SelectionArguments *a, const Network *n, int64_t v, int backward,
                         DistinctValues *values) {
  const int64_t dp = n->dp, max_by_rows = a->rows / MIN_ROWS_PER_VALUE,
                max_values = max_by_rows < MAX_VALUES ? max_by_rows : MAX_VALUES;
  const int finish = a->may_fold && !backward && !a->dropout.threshold;
  *values = (DistinctValues){0};
  values->value_of_row = malloc((a->rows ? a->rows : 1) * sizeof(int32_t));
  values->table_rows = malloc((max_values ? max_values : 1) * sizeof(TableRows));
  if (!values->value_of_row || !values->table_rows) return 0;
  values->count = find_values(a, v, max_values, values->value_of_row, values->table_rows);
  if (!values->count) return 1;
  const int64_t count = values->count;
  Tile t;
  values->memory = floats(count * dp * 3);
  if (!values->memory || !tile_make(&t, count, a->d, a->d)) return 0;
  values->inner = values->memory, values->z = values->inner + count * dp;
  for (int64_t i = 0; i < count; i++)
    read_table_rows(a, n, v, values->table_rows[i], t.inner + i * dp, t.u + i * n->op);
  memcpy(values->inner, t.inner, count * dp * sizeof(float));
  if (n->has_hidden) times_packed(count, dp, dp, t.inner, dp, n->hidden, n->hidden_bias, values->z, dp);
  if (finish) {
    values->y = values->z + count * dp;
    memcpy(t.z, values->z, count * dp * sizeof(float));
    tile_gate(n, &t, count);
    for (int64_t i = 0; i < count; i++)
      for (int64_t c = 0; c < a->d; c++) values->y[i * dp + c] = t.u[i * n->op + c] * n->gain[c] + n->shift[c];
  }
  free(t.memory);
  return 1;
}

static void distinct_free(DistinctValues *values) {
  free(values->value_of_row), free(values->table_rows), free(values->memory);
}

/* Inputs of a tile of rows: z before dropout, and the embedding. */
static void distinct_read(const SelectionArguments *a, const Network *n, const DistinctValues *values, int64_t v,
                          Tile *t, int64_t first, int64_t rows) {
  for (int64_t r = 0; r < rows; r++) {
    memcpy(t->z + r * n->dp, values->z + values->value_of_row[first + r] * n->dp, n->dp * sizeof(float));
    read_skip(a, n, v, table_rows_of(a, first + r, v), t->u + r * n->op);
  }
}

/* Sum the gradients of a tile by value. */
static void distinct_sum(const Network *n, const DistinctValues *values, DistinctSums *sums, const Tile *t,
                         int64_t first, int64_t rows) {
  for (int64_t r = 0; r < rows; r++) {
    const int64_t at = values->value_of_row[first + r];
    add_to(sums->z + at * n->dp, t->dz + r * n->dp, n->dp);
    add_to(sums->skip + at * n->op, t->dy + r * n->op, n->op);
  }
}

/* From the sums of all threads: the hidden map's gradients, and those of the tables. The sums are overwritten. */
static int distinct_backward(const SelectionArguments *a, const Network *n, const DistinctValues *values,
                             DistinctSums *sums, Gradients *g) {
  const int64_t dp = n->dp, count = values->count;
  float *back = floats(count * dp);
  if (!back) return 0;
  for (int64_t i = 0; i < count; i++) add_to(g->hidden_bias, sums->z + i * dp, dp);
  add_outer(dp, dp, count, sums->z, dp, values->inner, dp, g->hidden, dp);
  times_packed(count, dp, dp, sums->z, dp, n->hidden_back, NULL, back, dp);
  through_elu(back, values->inner, count * dp);
  for (int64_t i = 0; i < count; i++) {
    add_gradient(values->table_rows[i], a->dvariable_input, a->d, 0, values->inner + i * dp, a->d);
    add_gradient(values->table_rows[i], a->dembedded, a->d, 0, sums->skip + i * n->op, a->d);
  }
  free(back);
  return 1;
}
