/* Variable selection: all variables' networks, the joint network, its softmax and the weighted sum, a tile of rows at a
   time. The first linear maps of a variable's embedding are never multiplied out a row: they are looked up in small
   tables, two rows for a real (slope and intercept), one for each code of a category. */
#include <omp.h>

#include "distinct_values.h"

#define TILES_PER_BLOCK 12

typedef struct { /* memory of one thread */
  Tile tile, joint;
  float *memory, *dweights;   /* [tiles of a block x rows of a tile, V] */
  float *scores;              /* [padded V] */
  Gradients *gradients;       /* of each variable, then of the joint network */
  DistinctSums *values;       /* of each variable */
  float *tile_z, *tile_gates; /* the tile's memory for them, where they are not saved */
  float *dembedded, *dvariable_input, *djoint_input, *djoint_bias;
} Worker;

/* Softmax over the variables that are present; all 0 where none is. `scores` holds padded(V) numbers. */
static void softmax_weights(const SelectionArguments *a, const Network *n, const Tile *t, float *scores, int64_t first,
                            int64_t rows) {
  const int64_t V = num_variables(a);
  for (int64_t r = 0; r < rows; r++) {
    float *w = a->weights + (first + r) * V, largest = -1e30f, sum = 0.0f;
    const uint8_t *present = a->present ? a->present + (first + r) * V : NULL;
    for (int64_t v = 0; v < V; v++) {
      scores[v] = t->u[r * n->op + v] * n->gain[v] + n->shift[v];
      if ((!present || present[v]) && !(scores[v] < largest)) largest = scores[v];
    }
    for (int64_t v = 0; v < V; v += 8) store(scores + v, exponential(load(scores + v) - splat(largest)));
    for (int64_t v = 0; v < V; v++) {
      if (present && !present[v]) scores[v] = 0.0f;
      sum += scores[v];
    }
    const float share = sum > 0.0f || sum != sum ? 1.0f / sum : 0.0f;
    for (int64_t v = 0; v < V; v++) w[v] = scores[v] * share;
  }
}

typedef struct {               /* the rows of one tile */
  int64_t first, rows, offset; /* offset: of the first row in the worker's block */
} Span;

static const Dropout *dropout_of(const SelectionArguments *a) { return a->dropout.threshold ? &a->dropout : NULL; }

static void joint_forward(const SelectionArguments *a, const Network *n, Worker *w, Span s) {
  read_joint(a, n, &w->joint, s.first, s.rows);
  tile_forward(n, &w->joint, s.rows, dropout_of(a), num_variables(a) * a->rows + s.first);
  softmax_weights(a, n, &w->joint, w->scores, s.first, s.rows);
  memset(a->selected + s.first * a->d, 0, s.rows * a->d * sizeof(float));
}

/* Point the tile to where z and gates are saved for the backward pass, if they are; return whether. */
static int point_to_saved(const SelectionArguments *a, const Network *n, Worker *w, int64_t v, Span s) {
  Tile *t = &w->tile;
  t->z = a->saved_z ? a->saved_z[v] + s.first * n->dp : w->tile_z;
  t->gates = a->saved_gates ? a->saved_gates[v] + s.first * 2 * n->op : w->tile_gates;
  return a->saved_gates != NULL;
}

static void compute(const SelectionArguments *a, const Network *n, const DistinctValues *values, Worker *w, int64_t v,
                    Span s) {
  Tile *t = &w->tile;
  const int64_t first_number = v * a->rows + s.first;
  if (values->count) {
    distinct_read(a, n, values, v, t, s.first, s.rows);
    tile_drop(n, t, s.rows, dropout_of(a), first_number);
    tile_gate(n, t, s.rows);
  } else {
    read_variable(a, n, t, v, s.first, s.rows);
    tile_forward(n, t, s.rows, dropout_of(a), first_number);
  }
}

static void variable_forward(const SelectionArguments *a, const Network *n, const DistinctValues *values, Worker *w,
                             int64_t v, Span s) {
  const int64_t d = a->d, V = num_variables(a);
  if (!values->y) {
    point_to_saved(a, n, w, v, s);
    compute(a, n, values, w, v, s);
  }
  for (int64_t r = 0; r < s.rows; r++) {
    const float weight = a->weights[(s.first + r) * V + v];
    float *selected = a->selected + (s.first + r) * d;
    if (values->y) {
      axpy(selected, weight, values->y + values->value_of_row[s.first + r] * n->dp, d);
    } else {
      const float *u = w->tile.u + r * n->op;
      for (int64_t c = 0; c < d; c++) selected[c] += weight * (u[c] * n->gain[c] + n->shift[c]);
    }
  }
}

/* The gradient of a variable's weight is the product of its vector with the gradient of the selected one. */
static void variable_backward(const SelectionArguments *a, const Network *n, const DistinctValues *values, Worker *w,
                              int64_t v, Span s) {
  const int64_t V = num_variables(a), d = a->d;
  Tile *t = &w->tile;
  if (point_to_saved(a, n, w, v, s)) {
    if (values->count)
      for (int64_t r = 0; r < s.rows; r++) read_skip(a, n, v, table_rows_of(a, s.first + r, v), t->u + r * n->op);
    else
      read_variable(a, n, t, v, s.first, s.rows);
    tile_join(n, t, s.rows, 1);
  } else {
    compute(a, n, values, w, v, s);
  }
  for (int64_t r = 0; r < s.rows; r++) {
    const float weight = a->weights[(s.first + r) * V + v], *d_out = a->dselected + (s.first + r) * d;
    const float *u = t->u + r * n->op;
    float *dy = t->dy + r * n->op, dweight = a->dweights ? a->dweights[(s.first + r) * V + v] : 0.0f;
    v8 sum = splat(0.0f);
    int64_t c = 0;
    for (; c + 8 <= d; c += 8) {
      v8 one = load(d_out + c);
      sum += one * (load(u + c) * load(n->gain + c) + load(n->shift + c));
      store(dy + c, one * splat(weight));
    }
    for (; c < d; c++) {
      dy[c] = d_out[c] * weight;
      dweight += d_out[c] * (u[c] * n->gain[c] + n->shift[c]);
    }
    for (; c < n->op; c++) dy[c] = 0.0f;
    w->dweights[(s.offset + r) * V + v] = total(sum) + dweight;
  }
  if (values->count) {
    tile_gate_backward(n, t, s.rows, dropout_of(a), v * a->rows + s.first, &w->gradients[v]);
    distinct_sum(n, values, &w->values[v], t, s.first, s.rows);
    return;
  }
  tile_backward(n, t, s.rows, dropout_of(a), v * a->rows + s.first, &w->gradients[v]);
  for (int64_t r = 0; r < s.rows; r++) {
    const TableRows e = table_rows_of(a, s.first + r, v);
    add_gradient(e, w->dvariable_input, d, 0, t->inner + r * n->dp, d);
    add_gradient(e, w->dembedded, d, 0, t->dy + r * n->op, d);
  }
}

static void joint_backward(const SelectionArguments *a, const Network *n, Worker *w, Span s) {
  const int64_t V = num_variables(a), d = a->d;
  Tile *t = &w->joint;
  read_joint(a, n, t, s.first, s.rows);
  tile_forward(n, t, s.rows, dropout_of(a), V * a->rows + s.first);
  memset(t->dy, 0, s.rows * n->op * sizeof(float));
  for (int64_t r = 0; r < s.rows; r++) { /* back through the softmax */
    const float *weights = a->weights + (s.first + r) * V, *dweights = w->dweights + (s.offset + r) * V;
    float dot = 0.0f;
    for (int64_t v = 0; v < V; v++) dot += weights[v] * dweights[v];
    for (int64_t v = 0; v < V; v++) t->dy[r * n->op + v] = weights[v] * (dweights[v] - dot);
  }
  tile_backward(n, t, s.rows, dropout_of(a), V * a->rows + s.first, &w->gradients[V]);
  for (int64_t r = 0; r < s.rows; r++) {
    const float *inner = t->inner + r * n->dp, *skip = t->dy + r * n->op;
    axpy(w->djoint_bias, 1.0f, inner, d);
    axpy(w->djoint_bias + d, 1.0f, skip, V);
    if (a->context) axpy(a->dcontext + (s.first + r) / a->repeat * d, 1.0f, inner, d);
    for (int64_t v = 0; v < V; v++) {
      if (a->present && !a->present[(s.first + r) * V + v]) continue;
      const TableRows e = table_rows_of(a, s.first + r, v);
      add_gradient(e, w->djoint_input, d + V, 0, inner, d);
      add_gradient(e, w->djoint_input, d + V, d, skip, V);
    }
  }
}

/* A block of tiles: one variable after another, so that its weights stay in cache from tile to tile. */
static void work_on(const SelectionArguments *a, const Network *networks, const DistinctValues *values, Worker *w,
                    int64_t begin, int64_t end, int backward) {
  const int64_t V = num_variables(a), tile_size = w->tile.rows;
#define FOR_TILES(action)                                                                        \
  for (int64_t first = begin; first < end; first += tile_size) {                                 \
    const Span span = {first, end - first < tile_size ? end - first : tile_size, first - begin}; \
    action;                                                                                      \
  }
  if (!backward) FOR_TILES(joint_forward(a, &networks[V], w, span))
  for (int64_t v = 0; v < V; v++) {
    if (backward)
      FOR_TILES(variable_backward(a, &networks[v], &values[v], w, v, span))
    else
      FOR_TILES(variable_forward(a, &networks[v], &values[v], w, v, span))
  }
  if (backward) FOR_TILES(joint_backward(a, &networks[V], w, span))
}

static GrnParameters of_variable(const GrnParameters *all, int64_t v, int64_t d) {
  return (GrnParameters){all->hidden_weight + v * d * d, all->hidden_bias + v * d, all->gate_weight + v * 2 * d * d,
                         all->gate_bias + v * 2 * d,     all->gain + v * d,        all->shift + v * d};
}

static int64_t sums_size(const SelectionArguments *a, const DistinctValues *values) {
  const int64_t V = num_variables(a), d = a->d;
  int64_t size = V * gradients_size(d, d) + gradients_size(d, V) + a->entries * (3 * d + V) + d + V;
  for (int64_t v = 0; v < V; v++) size += values[v].count * 2 * padded(d);
  return (size + 15) / 16 * 16;
}

static int worker_make(const SelectionArguments *a, const DistinctValues *values, Worker *w, int64_t tile_size,
                       float *sums) {
  const int64_t V = num_variables(a), d = a->d;
  w->memory = floats(padded(V) + TILES_PER_BLOCK * tile_size * V);
  w->scores = w->memory, w->dweights = w->memory + padded(V);
  w->gradients = malloc((V + 1) * sizeof(Gradients));
  w->values = malloc((V + 1) * sizeof(DistinctSums));
  if (!w->memory || !w->gradients || !w->values) return 0;
  if (!tile_make(&w->tile, tile_size, d, d) || !tile_make(&w->joint, tile_size, d, V)) return 0;
  w->tile_z = w->tile.z, w->tile_gates = w->tile.gates;
  if (!sums) return 1;
  for (int64_t v = 0; v <= V; v++) {
    w->gradients[v] = gradients_at(sums, d, v < V ? d : V);
    sums += gradients_size(d, v < V ? d : V);
  }
  for (int64_t v = 0; v < V; v++) {
    w->values[v] = (DistinctSums){sums, sums + values[v].count * padded(d)};
    sums += 2 * values[v].count * padded(d);
  }
  w->dembedded = sums, w->dvariable_input = w->dembedded + a->entries * d,
  w->djoint_input = w->dvariable_input + a->entries * d;
  w->djoint_bias = w->djoint_input + a->entries * (d + V);
  return 1;
}

static void worker_add(SelectionArguments *a, const Worker *w) {
  const int64_t V = num_variables(a), d = a->d;
  for (int64_t v = 0; v < V; v++) {
    GrnParameters p = of_variable(&a->variables_gradients, v, d);
    gradients_add(&w->gradients[v], d, d, &p);
  }
  gradients_add(&w->gradients[V], d, V, &a->joint_gradients);
  add_to(a->dembedded, w->dembedded, a->entries * d);
  add_to(a->dvariable_input, w->dvariable_input, a->entries * d);
  add_to(a->djoint_input, w->djoint_input, a->entries * (d + V));
  add_to(a->djoint_bias, w->djoint_bias, d + V);
}

/* Sum the gradients of all threads for the variables with few distinct values, and finish those. */
static int finish_distinct(const SelectionArguments *a, const Network *networks, const DistinctValues *values,
                           Worker *workers, int threads) {
  int failed = 0;
  for (int64_t v = 0; v < num_variables(a); v++) {
    if (!values[v].count) continue;
    for (int i = 1; i < threads; i++)
      add_to(workers[0].values[v].z, workers[i].values[v].z, 2 * values[v].count * networks[v].dp);
    failed |= !distinct_backward(a, &networks[v], &values[v], &workers[0].values[v], &workers[0].gradients[v]);
  }
  return failed;
}

/* Returns 0, or 1 when there was no memory. */
static int run(SelectionArguments *a, int is_backward) {
  const int64_t V = num_variables(a), d = a->d, tile_size = tile_rows(d > V ? d : V);
  const int64_t group = is_backward && a->context ? a->repeat : 1; /* no two threads write to one context */
  const int64_t groups = a->rows / group;
  const int threads = a->threads < groups ? a->threads : (int)(groups ? groups : 1);
  const int may_fold = a->may_fold && !is_backward && !a->dropout.threshold;
  int failed = 0;
  Network *networks = calloc(V + 1, sizeof(Network));
  DistinctValues *values = calloc(V + 1, sizeof(DistinctValues));
  Worker *workers = calloc(threads, sizeof(Worker));
  float *sums = NULL;
  failed = !networks || !values || !workers;
#pragma omp parallel for num_threads(threads) reduction(| : failed) if (threads > 1)
  for (int64_t v = 0; v <= V; v++) {
    if (failed) continue;
    GrnParameters p = v < V ? of_variable(&a->variables, v, d) : a->joint;
    failed |= !network_make(&networks[v], &p, d, v < V ? d : V, a->eps, is_backward, may_fold);
    if (!failed && v < V) failed |= !distinct_make(a, &networks[v], v, is_backward, &values[v]);
  }
  const int64_t size = failed ? 0 : sums_size(a, values);
  if (!failed && is_backward) failed = !(sums = floats(size * threads));
  for (int i = 0; i < threads && !failed; i++) {
    failed = !worker_make(a, values, &workers[i], tile_size, sums ? sums + i * size : NULL);
  }
  if (!failed) {
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
      const int thread = omp_get_thread_num();
      const int64_t end = groups * (thread + 1) / threads * group;
      for (int64_t first = groups * thread / threads * group; first < end; first += TILES_PER_BLOCK * tile_size)
        work_on(a, networks, values, &workers[thread], first,
                end - first < TILES_PER_BLOCK * tile_size ? end : first + TILES_PER_BLOCK * tile_size, is_backward);
    }
    if (is_backward) failed = finish_distinct(a, networks, values, workers, threads);
    for (int i = 0; i < threads && is_backward; i++) worker_add(a, &workers[i]);
  }
  for (int64_t v = 0; v <= V && networks && values; v++) free(networks[v].memory), distinct_free(&values[v]);
  for (int i = 0; i < threads && workers; i++) {
    free(workers[i].memory), free(workers[i].gradients), free(workers[i].values);
    free(workers[i].tile.memory), free(workers[i].joint.memory);
  }
  free(networks), free(values), free(workers), free(sums);
  return failed;
}

int fusecast_variable_selection_forward(SelectionArguments *a) { return run(a, 0); }
int fusecast_variable_selection_backward(SelectionArguments *a) { return run(a, 1); }
