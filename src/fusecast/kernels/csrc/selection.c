/* Variable selection: all variables' networks, the joint network, its softmax and the weighted sum, a tile of rows at a
   time. What the first linear maps make of a variable is never multiplied out: it is looked up in small tables ("the
   dictionary"), two rows for a real (slope and intercept), one for each level of a category. */
#include <omp.h>

#include "few.h"

#define TILES 12 /* in a block */

typedef struct { /* what one thread works with */
  Tile tile, joint;
  float *memory, *dweights; /* [tiles of a block x rows of a tile, V] */
  float *scores;            /* [padded V] */
  Gradients *gradients;    /* of each variable, then of the joint network */
  FewSums *few;             /* of each variable */
  float *own_z, *own_gates; /* the tile's memory for them */
  float *dembedded, *down, *dcommon, *dstart;
} Worker;

/* Softmax over the variables that are present; all 0 where none is. `scores` holds padded(V) numbers. */
static void weigh(const Selection *a, const Network *n, const Tile *t, float *scores, int64_t first, int64_t rows) {
  const int64_t V = width(a);
  for (int64_t r = 0; r < rows; r++) {
    float *w = a->weights + (first + r) * V, largest = -1e30f, sum = 0.0f;
    const uint8_t *here = a->present ? a->present + (first + r) * V : NULL;
    for (int64_t v = 0; v < V; v++) {
      scores[v] = t->u[r * n->op + v] * n->gain[v] + n->shift[v];
      if ((!here || here[v]) && !(scores[v] < largest)) largest = scores[v];
    }
    for (int64_t v = 0; v < V; v += 8) store(scores + v, exponential(load(scores + v) - splat(largest)));
    for (int64_t v = 0; v < V; v++) {
      if (here && !here[v]) scores[v] = 0.0f;
      sum += scores[v];
    }
    const float share = sum > 0.0f || sum != sum ? 1.0f / sum : 0.0f;
    for (int64_t v = 0; v < V; v++) w[v] = scores[v] * share;
  }
}

typedef struct { /* the rows of one tile */
  int64_t first, rows, place; /* place: of the first row in the worker's block */
} Span;

static const Dropout *dropout_of(const Selection *a) { return a->dropout.threshold ? &a->dropout : NULL; }

static void joint_forward(const Selection *a, const Network *n, Worker *w, Span s) {
  read_joint(a, n, &w->joint, s.first, s.rows);
  tile_forward(n, &w->joint, s.rows, dropout_of(a), width(a) * a->rows + s.first);
  weigh(a, n, &w->joint, w->scores, s.first, s.rows);
  memset(a->selected + s.first * a->d, 0, s.rows * a->d * sizeof(float));
}

/* Let the tile hold z and gates where they are kept for the backward pass, if they are. */
static int keep(const Selection *a, const Network *n, Worker *w, int64_t v, Span s) {
  Tile *t = &w->tile;
  t->z = a->kept_z ? a->kept_z[v] + s.first * n->dp : w->own_z;
  t->gates = a->kept_gates ? a->kept_gates[v] + s.first * 2 * n->op : w->own_gates;
  return a->kept_gates != NULL;
}

static void compute(const Selection *a, const Network *n, const Few *few, Worker *w, int64_t v, Span s) {
  Tile *t = &w->tile;
  const int64_t number = v * a->rows + s.first;
  if (few->count) {
    few_read(a, n, few, v, t, s.first, s.rows);
    tile_drop(n, t, s.rows, dropout_of(a), number);
    tile_gate(n, t, s.rows);
  } else {
    read_variable(a, n, t, v, s.first, s.rows);
    tile_forward(n, t, s.rows, dropout_of(a), number);
  }
}

static void variable_forward(const Selection *a, const Network *n, const Few *few, Worker *w, int64_t v, Span s) {
  const int64_t d = a->d, V = width(a);
  if (!few->y) {
    keep(a, n, w, v, s);
    compute(a, n, few, w, v, s);
  }
  for (int64_t r = 0; r < s.rows; r++) {
    const float weight = a->weights[(s.first + r) * V + v];
    float *selected = a->selected + (s.first + r) * d;
    if (few->y) {
      axpy(selected, weight, few->y + few->place[s.first + r] * n->dp, d);
    } else {
      const float *u = w->tile.u + r * n->op;
      for (int64_t c = 0; c < d; c++) selected[c] += weight * (u[c] * n->gain[c] + n->shift[c]);
    }
  }
}

/* The gradient of a variable's weight is the product of its vector with the gradient of the selected one. */
static void variable_backward(const Selection *a, const Network *n, const Few *few, Worker *w, int64_t v, Span s) {
  const int64_t V = width(a), d = a->d;
  Tile *t = &w->tile;
  if (keep(a, n, w, v, s)) {
    if (few->count)
      for (int64_t r = 0; r < s.rows; r++) read_skip(a, n, v, entries_of(a, s.first + r, v), t->u + r * n->op);
    else
      read_variable(a, n, t, v, s.first, s.rows);
    tile_join(n, t, s.rows, 1);
  } else {
    compute(a, n, few, w, v, s);
  }
  for (int64_t r = 0; r < s.rows; r++) {
    const float weight = a->weights[(s.first + r) * V + v], *d_out = a->dselected + (s.first + r) * d;
    const float *u = t->u + r * n->op;
    float *dy = t->dy + r * n->op, rest = a->dweights ? a->dweights[(s.first + r) * V + v] : 0.0f;
    v8 sum = splat(0.0f);
    int64_t c = 0;
    for (; c + 8 <= d; c += 8) {
      v8 one = load(d_out + c);
      sum += one * (load(u + c) * load(n->gain + c) + load(n->shift + c));
      store(dy + c, one * splat(weight));
    }
    for (; c < d; c++) {
      dy[c] = d_out[c] * weight;
      rest += d_out[c] * (u[c] * n->gain[c] + n->shift[c]);
    }
    for (; c < n->op; c++) dy[c] = 0.0f;
    w->dweights[(s.place + r) * V + v] = total(sum) + rest;
  }
  if (few->count) {
    tile_gate_backward(n, t, s.rows, dropout_of(a), v * a->rows + s.first, &w->gradients[v]);
    few_sum(n, few, &w->few[v], t, s.first, s.rows);
    return;
  }
  tile_backward(n, t, s.rows, dropout_of(a), v * a->rows + s.first, &w->gradients[v]);
  for (int64_t r = 0; r < s.rows; r++) {
    const Entries e = entries_of(a, s.first + r, v);
    add_gradient(e, w->down, d, 0, t->inner + r * n->dp, d);
    add_gradient(e, w->dembedded, d, 0, t->dy + r * n->op, d);
  }
}

static void joint_backward(const Selection *a, const Network *n, Worker *w, Span s) {
  const int64_t V = width(a), d = a->d;
  Tile *t = &w->joint;
  read_joint(a, n, t, s.first, s.rows);
  tile_forward(n, t, s.rows, dropout_of(a), V * a->rows + s.first);
  memset(t->dy, 0, s.rows * n->op * sizeof(float));
  for (int64_t r = 0; r < s.rows; r++) { /* back through the softmax */
    const float *weights = a->weights + (s.first + r) * V, *dweights = w->dweights + (s.place + r) * V;
    float along = 0.0f;
    for (int64_t v = 0; v < V; v++) along += weights[v] * dweights[v];
    for (int64_t v = 0; v < V; v++) t->dy[r * n->op + v] = weights[v] * (dweights[v] - along);
  }
  tile_backward(n, t, s.rows, dropout_of(a), V * a->rows + s.first, &w->gradients[V]);
  for (int64_t r = 0; r < s.rows; r++) {
    const float *inner = t->inner + r * n->dp, *skip = t->dy + r * n->op;
    axpy(w->dstart, 1.0f, inner, d);
    axpy(w->dstart + d, 1.0f, skip, V);
    if (a->context) axpy(a->dcontext + (s.first + r) / a->repeat * d, 1.0f, inner, d);
    for (int64_t v = 0; v < V; v++) {
      if (a->present && !a->present[(s.first + r) * V + v]) continue;
      const Entries e = entries_of(a, s.first + r, v);
      add_gradient(e, w->dcommon, d + V, 0, inner, d);
      add_gradient(e, w->dcommon, d + V, d, skip, V);
    }
  }
}

/* A block of tiles: one variable after another, so that its weights stay in cache from tile to tile. */
static void work_on(const Selection *a, const Network *networks, const Few *few, Worker *w, int64_t begin, int64_t end,
                    int backward) {
  const int64_t V = width(a), tall = w->tile.rows;
#define FOR_TILES(action)                                                                              \
  for (int64_t first = begin; first < end; first += tall) {                                            \
    const Span span = {first, end - first < tall ? end - first : tall, first - begin};                 \
    action;                                                                                            \
  }
  if (!backward) FOR_TILES(joint_forward(a, &networks[V], w, span))
  for (int64_t v = 0; v < V; v++) {
    if (backward)
      FOR_TILES(variable_backward(a, &networks[v], &few[v], w, v, span))
    else
      FOR_TILES(variable_forward(a, &networks[v], &few[v], w, v, span))
  }
  if (backward) FOR_TILES(joint_backward(a, &networks[V], w, span))
}

static Parameters of_variable(const Parameters *all, int64_t v, int64_t d) {
  return (Parameters){all->hidden_weight + v * d * d, all->hidden_bias + v * d,  all->gate_weight + v * 2 * d * d,
                      all->gate_bias + v * 2 * d,     all->gain + v * d,         all->shift + v * d};
}

static int64_t sums_size(const Selection *a, const Few *few) {
  const int64_t V = width(a), d = a->d;
  int64_t size = V * gradients_size(d, d) + gradients_size(d, V) + a->entries * (3 * d + V) + d + V;
  for (int64_t v = 0; v < V; v++) size += few[v].count * 2 * padded(d);
  return (size + 15) / 16 * 16;
}

static int worker_make(const Selection *a, const Few *few, Worker *w, int64_t tall, float *sums) {
  const int64_t V = width(a), d = a->d;
  w->memory = floats(padded(V) + TILES * tall * V);
  w->scores = w->memory, w->dweights = w->memory + padded(V);
  w->gradients = malloc((V + 1) * sizeof(Gradients));
  w->few = malloc((V + 1) * sizeof(FewSums));
  if (!w->memory || !w->gradients || !w->few) return 0;
  if (!tile_make(&w->tile, tall, d, d) || !tile_make(&w->joint, tall, d, V)) return 0;
  w->own_z = w->tile.z, w->own_gates = w->tile.gates;
  if (!sums) return 1;
  for (int64_t v = 0; v <= V; v++) {
    w->gradients[v] = gradients_at(sums, d, v < V ? d : V);
    sums += gradients_size(d, v < V ? d : V);
  }
  for (int64_t v = 0; v < V; v++) {
    w->few[v] = (FewSums){sums, sums + few[v].count * padded(d)};
    sums += 2 * few[v].count * padded(d);
  }
  w->dembedded = sums, w->down = w->dembedded + a->entries * d, w->dcommon = w->down + a->entries * d;
  w->dstart = w->dcommon + a->entries * (d + V);
  return 1;
}

static void worker_add(Selection *a, const Worker *w) {
  const int64_t V = width(a), d = a->d;
  for (int64_t v = 0; v < V; v++) {
    Parameters p = of_variable(&a->variables_gradients, v, d);
    gradients_add(&w->gradients[v], d, d, &p);
  }
  gradients_add(&w->gradients[V], d, V, &a->joint_gradients);
  add_to(a->dembedded, w->dembedded, a->entries * d);
  add_to(a->down, w->down, a->entries * d);
  add_to(a->dcommon, w->dcommon, a->entries * (d + V));
  add_to(a->dstart, w->dstart, d + V);
}

/* Sum what the threads found out about the variables with few values, and finish with those. */
static int finish_few(const Selection *a, const Network *networks, const Few *few, Worker *workers, int threads) {
  int failed = 0;
  for (int64_t v = 0; v < width(a); v++) {
    if (!few[v].count) continue;
    for (int i = 1; i < threads; i++) add_to(workers[0].few[v].z, workers[i].few[v].z, 2 * few[v].count * networks[v].dp);
    failed |= !few_backward(a, &networks[v], &few[v], &workers[0].few[v], &workers[0].gradients[v]);
  }
  return failed;
}

/* Returns 0, or 1 when there was no memory. */
static int run(Selection *a, int is_backward) {
  const int64_t V = width(a), d = a->d, tall = tile_rows(d > V ? d : V);
  const int64_t together = is_backward && a->context ? a->repeat : 1; /* no two threads write to one context */
  const int64_t parts = a->rows / together;
  const int threads = a->threads < parts ? a->threads : (int)(parts ? parts : 1);
  const int may_fold = a->may_fold && !is_backward && !a->dropout.threshold;
  int failed = 0;
  Network *networks = calloc(V + 1, sizeof(Network));
  Few *few = calloc(V + 1, sizeof(Few));
  Worker *workers = calloc(threads, sizeof(Worker));
  float *sums = NULL;
  failed = !networks || !few || !workers;
#pragma omp parallel for num_threads(threads) reduction(| : failed) if (threads > 1)
  for (int64_t v = 0; v <= V; v++) {
    if (failed) continue;
    Parameters p = v < V ? of_variable(&a->variables, v, d) : a->joint;
    failed |= !network_make(&networks[v], &p, d, v < V ? d : V, a->eps, is_backward, may_fold);
    if (!failed && v < V) failed |= !few_make(a, &networks[v], v, is_backward, &few[v]);
  }
  const int64_t size = failed ? 0 : sums_size(a, few);
  if (!failed && is_backward) failed = !(sums = floats(size * threads));
  for (int i = 0; i < threads && !failed; i++) {
    failed = !worker_make(a, few, &workers[i], tall, sums ? sums + i * size : NULL);
  }
  if (!failed) {
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
      const int me = omp_get_thread_num();
      const int64_t end = parts * (me + 1) / threads * together;
      for (int64_t first = parts * me / threads * together; first < end; first += TILES * tall)
        work_on(a, networks, few, &workers[me], first, end - first < TILES * tall ? end : first + TILES * tall,
                is_backward);
    }
    if (is_backward) failed = finish_few(a, networks, few, workers, threads);
    for (int i = 0; i < threads && is_backward; i++) worker_add(a, &workers[i]);
  }
  for (int64_t v = 0; v <= V && networks && few; v++) free(networks[v].memory), few_free(&few[v]);
  for (int i = 0; i < threads && workers; i++) {
    free(workers[i].memory), free(workers[i].gradients), free(workers[i].few);
    free(workers[i].tile.memory), free(workers[i].joint.memory);
  }
  free(networks), free(few), free(workers), free(sums);
  return failed;
}

int fusecast_selection_forward(Selection *a) { return run(a, 0); }
int fusecast_selection_backward(Selection *a) { return run(a, 1); }
