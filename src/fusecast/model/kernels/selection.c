/* Variable selection: all variables' networks, the joint network, its softmax and the weighted sum, a tile of rows at a
   time. What the first linear maps make of a variable is never multiplied out: it is looked up in small tables ("the
   dictionary"), two rows for a real (slope and intercept), one for each level of a category. */
#include <omp.h>

#include "entries.h"

#define TILES 12 /* in a block */

typedef struct { /* what one thread works with */
  Tile tile, joint;
  float *memory, *dweights; /* [tiles of a block x rows of a tile, V] */
  Gradients *gradients;    /* of each variable, then of the joint network */
  float *dembedded, *down, *dcommon, *dstart;
} Worker;

/* Softmax over the variables that are present; all 0 where none is. */
static void weigh(const Selection *a, const Network *n, const Tile *t, int64_t first, int64_t rows) {
  const int64_t V = width(a);
  for (int64_t r = 0; r < rows; r++) {
    float *w = a->weights + (first + r) * V, largest = -1e30f, sum = 0.0f;
    const uint8_t *here = a->present ? a->present + (first + r) * V : NULL;
    for (int64_t v = 0; v < V; v++) {
      w[v] = t->u[r * n->op + v] * n->gain[v] + n->shift[v];
      if ((!here || here[v]) && !(w[v] < largest)) largest = w[v];
    }
    for (int64_t v = 0; v < V; v++) {
      w[v] = !here || here[v] ? exponential(splat(w[v] - largest))[0] : 0.0f;
      sum += w[v];
    }
    for (int64_t v = 0; v < V; v++) w[v] = sum > 0.0f || sum != sum ? w[v] / sum : 0.0f;
  }
}

typedef struct { /* the rows of one tile */
  int64_t first, rows, place; /* place: of the first row in the worker's block */
} Span;

static const Dropout *dropout_of(const Selection *a) { return a->dropout.threshold ? &a->dropout : NULL; }

static void joint_forward(const Selection *a, const Network *n, Worker *w, Span s) {
  read_joint(a, n, &w->joint, s.first, s.rows);
  tile_forward(n, &w->joint, s.rows, dropout_of(a), width(a) * a->rows + s.first);
  weigh(a, n, &w->joint, s.first, s.rows);
  memset(a->selected + s.first * a->d, 0, s.rows * a->d * sizeof(float));
}

static void variable_forward(const Selection *a, const Network *n, Worker *w, int64_t v, Span s) {
  const int64_t d = a->d;
  read_variable(a, n, &w->tile, v, s.first, s.rows);
  tile_forward(n, &w->tile, s.rows, dropout_of(a), v * a->rows + s.first);
  for (int64_t r = 0; r < s.rows; r++) {
    const float weight = a->weights[(s.first + r) * width(a) + v], *u = w->tile.u + r * n->op;
    float *selected = a->selected + (s.first + r) * d;
    for (int64_t c = 0; c < d; c++) selected[c] += weight * (u[c] * n->gain[c] + n->shift[c]);
  }
}

/* The gradient of a variable's weight is the product of its vector with the gradient of the selected one. */
static void variable_backward(const Selection *a, const Network *n, Worker *w, int64_t v, Span s) {
  const int64_t V = width(a), d = a->d;
  Tile *t = &w->tile;
  read_variable(a, n, t, v, s.first, s.rows);
  tile_forward(n, t, s.rows, dropout_of(a), v * a->rows + s.first);
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
static void work_on(const Selection *a, const Network *networks, Worker *w, int64_t begin, int64_t end, int backward) {
  const int64_t V = width(a), tall = w->tile.rows;
#define FOR_TILES(action)                                                                              \
  for (int64_t first = begin; first < end; first += tall) {                                            \
    const Span span = {first, end - first < tall ? end - first : tall, first - begin};                 \
    action;                                                                                            \
  }
  if (!backward) FOR_TILES(joint_forward(a, &networks[V], w, span))
  for (int64_t v = 0; v < V; v++) {
    if (backward)
      FOR_TILES(variable_backward(a, &networks[v], w, v, span))
    else
      FOR_TILES(variable_forward(a, &networks[v], w, v, span))
  }
  if (backward) FOR_TILES(joint_backward(a, &networks[V], w, span))
}

static Parameters of_variable(const Parameters *all, int64_t v, int64_t d) {
  return (Parameters){all->hidden_weight + v * d * d, all->hidden_bias + v * d,  all->gate_weight + v * 2 * d * d,
                      all->gate_bias + v * 2 * d,     all->gain + v * d,         all->shift + v * d};
}

static int64_t sums_size(const Selection *a) {
  const int64_t V = width(a), d = a->d;
  return V * gradients_size(d, d) + gradients_size(d, V) + a->entries * (3 * d + V) + d + V;
}

static int worker_make(const Selection *a, Worker *w, int64_t tall, float *sums) {
  const int64_t V = width(a), d = a->d;
  w->memory = floats(TILES * tall * V);
  w->dweights = w->memory;
  w->gradients = malloc((V + 1) * sizeof(Gradients));
  if (!w->memory || !w->gradients || !tile_make(&w->tile, tall, d, d) || !tile_make(&w->joint, tall, d, V)) return 0;
  if (!sums) return 1;
  for (int64_t v = 0; v <= V; v++) {
    w->gradients[v] = gradients_at(sums, d, v < V ? d : V);
    sums += gradients_size(d, v < V ? d : V);
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

/* Returns 0, or 1 when there was no memory. */
static int run(Selection *a, int is_backward) {
  const int64_t V = width(a), d = a->d, tall = tile_rows(d > V ? d : V), size = sums_size(a);
  const int64_t together = is_backward && a->context ? a->repeat : 1; /* no two threads write to one context */
  const int64_t parts = a->rows / together;
  const int threads = a->threads < parts ? a->threads : (int)(parts ? parts : 1);
  const int may_fold = a->may_fold && !is_backward && !a->dropout.threshold;
  int failed = 0;
  Network *networks = calloc(V + 1, sizeof(Network));
  Worker *workers = calloc(threads, sizeof(Worker));
  float *sums = is_backward ? floats(size * threads) : NULL;
  failed = !networks || !workers || (is_backward && !sums);
  for (int64_t v = 0; v <= V && !failed; v++) {
    Parameters p = v < V ? of_variable(&a->variables, v, d) : a->joint;
    failed = !network_make(&networks[v], &p, d, v < V ? d : V, a->eps, is_backward, may_fold);
  }
  for (int i = 0; i < threads && !failed; i++) failed = !worker_make(a, &workers[i], tall, sums ? sums + i * size : NULL);
  if (!failed) {
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
      const int me = omp_get_thread_num();
      const int64_t end = parts * (me + 1) / threads * together;
      for (int64_t first = parts * me / threads * together; first < end; first += TILES * tall)
        work_on(a, networks, &workers[me], first, end - first < TILES * tall ? end : first + TILES * tall, is_backward);
    }
    for (int i = 0; i < threads && is_backward; i++) worker_add(a, &workers[i]);
  }
  for (int64_t v = 0; v <= V && networks; v++) free(networks[v].memory);
  for (int i = 0; i < threads && workers; i++) {
    free(workers[i].memory), free(workers[i].gradients), free(workers[i].tile.memory), free(workers[i].joint.memory);
  }
  free(networks), free(workers), free(sums);
  return failed;
}

int fusecast_selection_forward(Selection *a) { return run(a, 0); }
int fusecast_selection_backward(Selection *a) { return run(a, 1); }
