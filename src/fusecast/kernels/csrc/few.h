/* Variables that have few values: a calendar, a flag, a category. What depends on the value alone is computed once a
   value and not once a row: everything before dropout, and without dropout the whole network. */
#pragma once
#include "entries.h"

#define FEWEST_ROWS_A_VALUE 4 /* with fewer a table would not pay */
#define MOST_VALUES 1024

typedef struct {
  int64_t count;    /* of values; 0: too many, and nothing else is there */
  int32_t *place;   /* [rows]: which value a row has */
  Entries *entries; /* [count] */
  float *memory;
  float *inner, *z; /* [count, dp]: elu of the first map, and the hidden map of that */
  float *y;         /* [count, dp]: what the whole network makes of it; NULL with dropout, or where gradients follow */
} Few;

typedef struct { /* gradients that one thread summed, by value: of z before dropout, and of the embedding */
  float *z, *skip;
} FewSums;

INLINE uint32_t bits_of(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

/* Number the values of variable v; 0 when they are too many. */
static int64_t number_values(const Selection *a, int64_t v, int64_t most, int32_t *place, Entries *entries) {
  enum { SLOTS = 4 * MOST_VALUES };
  int32_t slots[SLOTS]; /* number of a value + 1, at the place that its bits are sent to, or after it */
  memset(slots, 0, sizeof slots);
  int64_t count = 0;
  for (int64_t r = 0; r < a->rows; r++) {
    const Entries e = entries_of(a, r, v);
    uint32_t slot = ((bits_of(e.factor) + (uint32_t)e.first * 0x85EBCA6Bu) * 0x9E3779B1u >> 8) % SLOTS;
    for (;; slot = (slot + 1) % SLOTS) {
      const int32_t known = slots[slot] - 1;
      if (known < 0) {
        if (count == most) return 0;
        entries[count] = e, slots[slot] = (int32_t)++count, place[r] = (int32_t)count - 1;
        break;
      }
      const Entries k = entries[known];
      if (k.first == e.first && bits_of(k.factor) == bits_of(e.factor) && k.second == e.second) {
        place[r] = known;
        break;
      }
    }
  }
  return count;
}

/* Find the values of a variable and compute their tables. Returns 0 when there was no memory. */
static int few_make(const Selection *a, const Network *n, int64_t v, int backward, Few *few) {
  const int64_t dp = n->dp, whole = a->rows / FEWEST_ROWS_A_VALUE, most = whole < MOST_VALUES ? whole : MOST_VALUES;
  const int finish = a->may_fold && !backward && !a->dropout.threshold;
  *few = (Few){0};
  few->place = malloc((a->rows ? a->rows : 1) * sizeof(int32_t));
  few->entries = malloc((most ? most : 1) * sizeof(Entries));
  if (!few->place || !few->entries) return 0;
  few->count = number_values(a, v, most, few->place, few->entries);
  if (!few->count) return 1;
  const int64_t count = few->count;
  Tile t;
  few->memory = floats(count * dp * 3);
  if (!few->memory || !tile_make(&t, count, a->d, a->d)) return 0;
  few->inner = few->memory, few->z = few->inner + count * dp;
  for (int64_t i = 0; i < count; i++) read_entries(a, n, v, few->entries[i], t.inner + i * dp, t.u + i * n->op);
  memcpy(few->inner, t.inner, count * dp * sizeof(float));
  if (n->has_hidden) times_packed(count, dp, dp, t.inner, dp, n->hidden, n->hidden_bias, few->z, dp);
  if (finish) {
    few->y = few->z + count * dp;
    memcpy(t.z, few->z, count * dp * sizeof(float));
    tile_gate(n, &t, count);
    for (int64_t i = 0; i < count; i++)
      for (int64_t c = 0; c < a->d; c++) few->y[i * dp + c] = t.u[i * n->op + c] * n->gain[c] + n->shift[c];
  }
  free(t.memory);
  return 1;
}

static void few_free(Few *few) { free(few->place), free(few->entries), free(few->memory); }

/* What a tile of rows starts from: z before dropout, and the embedding. */
static void few_read(const Selection *a, const Network *n, const Few *few, int64_t v, Tile *t, int64_t first,
                     int64_t rows) {
  for (int64_t r = 0; r < rows; r++) {
    memcpy(t->z + r * n->dp, few->z + few->place[first + r] * n->dp, n->dp * sizeof(float));
    read_skip(a, n, v, entries_of(a, first + r, v), t->u + r * n->op);
  }
}

/* Sum the gradients of a tile by value. */
static void few_sum(const Network *n, const Few *few, FewSums *sums, const Tile *t, int64_t first, int64_t rows) {
  for (int64_t r = 0; r < rows; r++) {
    const int64_t at = few->place[first + r];
    add_to(sums->z + at * n->dp, t->dz + r * n->dp, n->dp);
    add_to(sums->skip + at * n->op, t->dy + r * n->op, n->op);
  }
}

/* From the sums of all threads on: the hidden map's gradients, and those of the dictionary. The sums are used up. */
static int few_backward(const Selection *a, const Network *n, const Few *few, FewSums *sums, Gradients *g) {
  const int64_t dp = n->dp, count = few->count;
  float *back = floats(count * dp);
  if (!back) return 0;
  for (int64_t i = 0; i < count; i++) add_to(g->hidden_bias, sums->z + i * dp, dp);
  add_outer(dp, dp, count, sums->z, dp, few->inner, dp, g->hidden, dp);
  times_packed(count, dp, dp, sums->z, dp, n->hidden_back, NULL, back, dp);
  through_elu(back, few->inner, count * dp);
  for (int64_t i = 0; i < count; i++) {
    add_gradient(few->entries[i], a->down, a->d, 0, few->inner + i * dp, a->d);
    add_gradient(few->entries[i], a->dembedded, a->d, 0, sums->skip + i * n->op, a->d);
  }
  free(back);
  return 1;
}
