/* Variable selection: all variables' networks, the joint network, its softmax and the weighted sum, a tile of rows at a
   time. What the first linear maps make of a variable is never multiplied out: it is looked up in small tables ("the
   dictionary"), two rows for a real (slope and intercept), one for each level of a category. */
#include <omp.h>

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
  const float *dselected, *dweights; /* dweights: NULL for none */
  float *dembedded, *down, *dcommon, *dcontext, *dstart; /* added to */
} Selection;

typedef struct { /* what one thread works with */
  Tile tile, joint;
  float *memory, *dlogits; /* [tall, V] */
  Gradients *gradients;    /* of each variable, then of the joint network */
  float *dembedded, *down, *dcommon, *dstart;
} Worker;

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

/* What a variable's own network starts from: elu of its first map, and the embedding, which goes around. */
static void read_variable(const Selection *a, const Network *n, Tile *t, int64_t v, int64_t first, int64_t rows) {
  const int64_t d = a->d, whole = d / 8 * 8;
  for (int64_t r = 0; r < rows; r++) {
    const Entries e = entries_of(a, first + r, v);
    const float *own = a->own + e.first * d, *more = own + d, *around = a->embedded + e.first * d, *rest = around + d;
    float *inner = t->inner + r * n->dp, *skip = t->u + r * n->op;
    if (v < a->reals) {
      const v8 x = splat(e.factor), here = splat(e.second);
      for (int64_t c = 0; c < whole; c += 8) {
        store(inner + c, elu(x * load(own + c) + here * load(more + c)));
        store(skip + c, x * load(around + c) + here * load(rest + c));
      }
      for (int64_t c = whole; c < d; c++) {
        inner[c] = elu(splat(e.factor * own[c] + e.second * more[c]))[0];
        skip[c] = e.factor * around[c] + e.second * rest[c];
      }
    } else {
      for (int64_t c = 0; c < whole; c += 8) store(inner + c, elu(load(own + c)));
      for (int64_t c = whole; c < d; c++) inner[c] = elu(splat(own[c]))[0];
      memcpy(skip, around, d * sizeof(float));
    }
    for (int64_t c = d; c < n->dp; c++) inner[c] = skip[c] = 0.0f;
  }
}

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

static void forward(const Selection *a, const Network *networks, Worker *w, int64_t first, int64_t rows) {
  const int64_t V = width(a), d = a->d;
  const Dropout *dropout = a->dropout.threshold ? &a->dropout : NULL;
  read_joint(a, &networks[V], &w->joint, first, rows);
  tile_forward(&networks[V], &w->joint, rows, dropout, V * a->rows + first);
  weigh(a, &networks[V], &w->joint, first, rows);
  memset(a->selected + first * d, 0, rows * d * sizeof(float));
  for (int64_t v = 0; v < V; v++) {
    const Network *n = &networks[v];
    read_variable(a, n, &w->tile, v, first, rows);
    tile_forward(n, &w->tile, rows, dropout, v * a->rows + first);
    for (int64_t r = 0; r < rows; r++) {
      const float weight = a->weights[(first + r) * V + v], *u = w->tile.u + r * n->op;
      float *selected = a->selected + (first + r) * d;
      for (int64_t c = 0; c < d; c++) selected[c] += weight * (u[c] * n->gain[c] + n->shift[c]);
    }
  }
}

static void backward(const Selection *a, const Network *networks, Worker *w, int64_t first, int64_t rows) {
  const int64_t V = width(a), d = a->d;
  const Dropout *dropout = a->dropout.threshold ? &a->dropout : NULL;
  for (int64_t v = 0; v < V; v++) {
    const Network *n = &networks[v];
    Tile *t = &w->tile;
    read_variable(a, n, t, v, first, rows);
    tile_forward(n, t, rows, dropout, v * a->rows + first);
    for (int64_t r = 0; r < rows; r++) {
      const float weight = a->weights[(first + r) * V + v], *d_out = a->dselected + (first + r) * d;
      const float *u = t->u + r * n->op;
      float *dy = t->dy + r * n->op;
      v8 sum = splat(0.0f);
      int64_t c = 0;
      for (; c + 8 <= d; c += 8) {
        v8 one = load(d_out + c);
        sum += one * (load(u + c) * load(n->gain + c) + load(n->shift + c));
        store(dy + c, one * splat(weight));
      }
      float rest = 0.0f;
      for (; c < n->op; c++) {
        dy[c] = c < d ? d_out[c] * weight : 0.0f;
        if (c < d) rest += d_out[c] * (u[c] * n->gain[c] + n->shift[c]);
      }
      w->dlogits[r * V + v] = total(sum) + rest + (a->dweights ? a->dweights[(first + r) * V + v] : 0.0f);
    }
    tile_backward(n, t, rows, dropout, v * a->rows + first, &w->gradients[v]);
    for (int64_t r = 0; r < rows; r++) {
      const Entries e = entries_of(a, first + r, v);
      add_gradient(e, w->down, d, 0, t->inner + r * n->dp, d);
      add_gradient(e, w->dembedded, d, 0, t->dy + r * n->op, d);
    }
  }
  const Network *n = &networks[V];
  Tile *t = &w->joint;
  read_joint(a, n, t, first, rows);
  tile_forward(n, t, rows, dropout, V * a->rows + first);
  memset(t->dy, 0, rows * n->op * sizeof(float));
  for (int64_t r = 0; r < rows; r++) {
    const float *weights = a->weights + (first + r) * V;
    float along = 0.0f;
    for (int64_t v = 0; v < V; v++) along += weights[v] * w->dlogits[r * V + v];
    for (int64_t v = 0; v < V; v++) t->dy[r * n->op + v] = weights[v] * (w->dlogits[r * V + v] - along);
  }
  tile_backward(n, t, rows, dropout, V * a->rows + first, &w->gradients[V]);
  for (int64_t r = 0; r < rows; r++) {
    const float *inner = t->inner + r * n->dp, *skip = t->dy + r * n->op;
    axpy(w->dstart, 1.0f, inner, d);
    axpy(w->dstart + d, 1.0f, skip, V);
    if (a->context) axpy(a->dcontext + (first + r) / a->repeat * d, 1.0f, inner, d);
    for (int64_t v = 0; v < V; v++) {
      if (a->present && !a->present[(first + r) * V + v]) continue;
      const Entries e = entries_of(a, first + r, v);
      add_gradient(e, w->dcommon, d + V, 0, inner, d);
      add_gradient(e, w->dcommon, d + V, d, skip, V);
    }
  }
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
  w->memory = floats(tall * V);
  w->dlogits = w->memory;
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
      for (int64_t first = parts * me / threads * together; first < end; first += tall) {
        const int64_t rows = end - first < tall ? end - first : tall;
        (is_backward ? backward : forward)(a, networks, &workers[me], first, rows);
      }
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
