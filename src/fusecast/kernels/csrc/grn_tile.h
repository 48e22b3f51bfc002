/* A gated residual network after its first linear map, for a tile of rows that stays in cache throughout:

       z = W_h elu(x) + b_h          (or z = x, in a gate that adds and normalises)
       y = gain * norm(skip + (W_v dropout(z) + b_v) * sigmoid(W_g dropout(z) + b_g)) + shift

   The backward pass recomputes the tile where the forward pass did not save it: a few products more, no memory traffic.
   Without dropout and backward pass W_v W_h and W_g W_h are multiplied once, which saves the tile's product with W_h.
   Widths are padded to multiples of 16 with zeros, which stay zeros throughout. */
#pragma once
#include "dropout.h"
#include "matmul.h"

typedef struct { /* padded and packed */
  int64_t d, out, dp, op;
  int has_hidden, folded; /* folded: the gate's map is the product of both maps */
  float eps;              /* added to the variance */
  float *memory;
  float *hidden, *hidden_back, *hidden_bias, *gate, *gate_back, *gate_bias, *gain, *shift, *not_padding;
} Network;

typedef struct { /* gradients summed by one thread, padded */
  float *hidden, *hidden_bias, *gate, *gate_bias, *gain, *shift;
} Gradients;

typedef struct { /* rows of d or `out` numbers, padded */
  int64_t rows;
  float *memory;
  float *inner; /* [rows, dp] in: elu(x); out: the gradient of x */
  float *z;     /* [rows, dp] dropout(z); in a plain gate, the input */
  float *gates; /* [rows, 2 op] values, and gates after the sigmoid */
  float *u;     /* [rows, op] in: the skip; out: normalised, without gain and shift */
  float *dy;    /* [rows, op] in: the gradient of y; out: of the skip */
  float *dgates;
  float *dz;        /* [rows, dp] */
  float *back;      /* [rows, dp] */
  float *deviation; /* [rows] 1 / standard deviation */
} Tile;

static int64_t gradients_size(int64_t d, int64_t out) {
  int64_t dp = padded(d), op = padded(out);
  return dp * dp + dp + 2 * op * dp + 2 * op + 2 * op;
}

static Gradients gradients_at(float *memory, int64_t d, int64_t out) {
  int64_t dp = padded(d), op = padded(out);
  Gradients g;
  g.hidden = memory, g.hidden_bias = g.hidden + dp * dp, g.gate = g.hidden_bias + dp;
  g.gate_bias = g.gate + 2 * op * dp, g.gain = g.gate_bias + 2 * op, g.shift = g.gain + op;
  return g;
}

/* Replace the gate's weight [2 out, d] and bias by those of the hidden map followed by the gate. */
static int fold(Network *n, const GrnParameters *p) {
  const int64_t d = n->d, dp = n->dp, op = n->op;
  float *hidden = floats(dp * dp), *product = floats(dp);
  if (!hidden || !product) {
    free(hidden), free(product);
    return 0;
  }
  pack(p->hidden_weight, d, d, dp, hidden);
  for (int64_t o = 0; o < 2 * n->out; o++) {
    const float *gate = p->gate_weight + o * d;
    const int64_t to = o < n->out ? o : op + o - n->out;
    memcpy(n->hidden_bias, gate, d * sizeof(float)); /* as a buffer of dp numbers, unused here */
    times_packed(1, dp, dp, n->hidden_bias, dp, hidden, NULL, product, dp);
    for (int64_t k = 0; k < d; k++) {
      n->gate[(to / 16 * dp + k) * 16 + to % 16] = product[k];
      n->gate_bias[to] += gate[k] * p->hidden_bias[k];
    }
  }
  free(hidden), free(product);
  n->has_hidden = 0, n->folded = 1;
  return 1;
}

static int network_make(Network *n, const GrnParameters *p, int64_t d, int64_t out, float eps, int backward,
                        int may_fold) {
  int64_t dp = padded(d), op = padded(out), square = dp * dp, wide = 2 * op * dp;
  *n = (Network){.d = d, .out = out, .dp = dp, .op = op, .has_hidden = p->hidden_weight != NULL, .eps = eps};
  n->memory = floats(2 * square + 2 * wide + dp + 5 * op);
  if (!n->memory) return 0;
  n->hidden = n->memory, n->hidden_back = n->hidden + square, n->gate = n->hidden_back + square;
  n->gate_back = n->gate + wide, n->hidden_bias = n->gate_back + wide, n->gate_bias = n->hidden_bias + dp;
  n->gain = n->gate_bias + 2 * op, n->shift = n->gain + op, n->not_padding = n->shift + op;
  if (n->has_hidden) {
    pack_transposed(p->hidden_weight, d, d, dp, n->hidden);
    if (backward) pack(p->hidden_weight, d, d, dp, n->hidden_back);
    memcpy(n->hidden_bias, p->hidden_bias, d * sizeof(float));
  }
  pack_transposed(p->gate_weight, out, d, dp, n->gate);
  pack_transposed(p->gate_weight + out * d, out, d, dp, n->gate + op * dp);
  if (backward) {
    pack(p->gate_weight, out, d, 2 * op, n->gate_back);
    pack(p->gate_weight + out * d, out, d, 2 * op, n->gate_back + op * 16);
  }
  memcpy(n->gate_bias, p->gate_bias, out * sizeof(float));
  memcpy(n->gate_bias + op, p->gate_bias + out, out * sizeof(float));
  memcpy(n->gain, p->gain, out * sizeof(float));
  memcpy(n->shift, p->shift, out * sizeof(float));
  for (int64_t i = 0; i < out; i++) n->not_padding[i] = 1.0f;
  return n->has_hidden && may_fold ? fold(n, p) : 1;
}

static int tile_make(Tile *t, int64_t rows, int64_t d, int64_t out) {
  int64_t dp = padded(d), op = padded(out);
  t->rows = rows;
  t->memory = floats(rows * (4 * dp + 6 * op + 16));
  if (!t->memory) return 0;
  t->inner = t->memory, t->z = t->inner + rows * dp, t->dz = t->z + rows * dp;
  t->back = t->dz + rows * dp, t->gates = t->back + rows * dp;
  t->dgates = t->gates + 2 * rows * op, t->u = t->dgates + 2 * rows * op, t->dy = t->u + rows * op;
  t->deviation = t->dy + rows * op;
  return 1;
}

/* Rows of a tile, a multiple of a register block: few enough for the cache, enough to amortise loading the weights. */
static int64_t tile_rows(int64_t d) {
  const int64_t rows = 3072 / padded(d) / 6 * 6;
  return rows < 36 ? 36 : rows > 96 ? 96 : rows;
}

/* Apply the gates, add the skip and normalise; with `open_already` the sigmoid was applied before. */
static void tile_join(const Network *n, Tile *t, int64_t rows, int open_already) {
  const int64_t op = n->op;
  for (int64_t r = 0; r < rows; r++) {
    float *values = t->gates + 2 * r * op, *gates = values + op, *u = t->u + r * op;
    v8 sum = splat(0.0f), squares = splat(0.0f);
    if (open_already) {
      for (int64_t c = 0; c < op; c += 8) {
        v8 x = load(u + c) + load(values + c) * load(gates + c);
        store(u + c, x);
        sum += x;
      }
    } else {
      for (int64_t c = 0; c < op; c += 8) {
        v8 open = sigmoid(load(gates + c)), x = load(u + c) + load(values + c) * open;
        store(gates + c, open);
        store(u + c, x);
        sum += x;
      }
    }
    const v8 mean = splat(total(sum) / (float)n->out);
    for (int64_t c = 0; c < op; c += 8) {
      v8 x = (load(u + c) - mean) * load(n->not_padding + c);
      store(u + c, x);
      squares += x * x;
    }
    t->deviation[r] = 1.0f / __builtin_sqrtf(total(squares) / (float)n->out + n->eps);
    for (int64_t c = 0; c < op; c += 8) store(u + c, load(u + c) * splat(t->deviation[r]));
  }
}

/* The forward pass from z on. */
static void tile_gate(const Network *n, Tile *t, int64_t rows) {
  times_packed(rows, 2 * n->op, n->dp, n->folded ? t->inner : t->z, n->dp, n->gate, n->gate_bias, t->gates, 2 * n->op);
  tile_join(n, t, rows, 0);
}

static void tile_drop(const Network *n, Tile *t, int64_t rows, const Dropout *dropout, uint64_t first) {
  for (int64_t r = 0; r < rows && dropout; r++) drop(t->z + r * n->dp, n->dp, dropout, first + r);
}

/* The forward pass; `first` numbers the first row for dropout, which is NULL for none. */
static void tile_forward(const Network *n, Tile *t, int64_t rows, const Dropout *dropout, uint64_t first) {
  const int64_t dp = n->dp;
  if (n->has_hidden) times_packed(rows, dp, dp, t->inner, dp, n->hidden, n->hidden_bias, t->z, dp);
  tile_drop(n, t, rows, dropout, first);
  tile_gate(n, t, rows);
}

/* The backward pass to z before dropout, whose gradient is returned, after a forward pass. Gradients of parameters are
   added to `g`. */
static float *tile_gate_backward(const Network *n, Tile *t, int64_t rows, const Dropout *dropout, uint64_t first,
                                 Gradients *g) {
  const int64_t dp = n->dp, op = n->op;
  for (int64_t r = 0; r < rows; r++) {
    const float *values = t->gates + 2 * r * op, *gates = values + op, *normed = t->u + r * op;
    float *dy = t->dy + r * op, *dvalues = t->dgates + 2 * r * op, *dopen = dvalues + op;
    v8 sum = splat(0.0f), along = splat(0.0f);
    for (int64_t c = 0; c < op; c += 8) {
      v8 d = load(dy + c), x = load(normed + c);
      store(g->gain + c, load(g->gain + c) + d * x);
      store(g->shift + c, load(g->shift + c) + d);
      d *= load(n->gain + c);
      store(dy + c, d);
      sum += d;
      along += d * x;
    }
    const v8 mean = splat(total(sum) / (float)n->out), slope = splat(total(along) / (float)n->out);
    const v8 deviation = splat(t->deviation[r]);
    for (int64_t c = 0; c < op; c += 8) {
      v8 d = (load(dy + c) - mean - load(normed + c) * slope) * deviation * load(n->not_padding + c);
      v8 value = load(values + c), open = load(gates + c), dvalue = d * open;
      v8 dgate = dvalue * value * (splat(1.0f) - open);
      store(dy + c, d);
      store(dvalues + c, dvalue);
      store(dopen + c, dgate);
      store(g->gate_bias + c, load(g->gate_bias + c) + dvalue);
      store(g->gate_bias + op + c, load(g->gate_bias + op + c) + dgate);
    }
  }
  add_outer(2 * op, dp, rows, t->dgates, 2 * op, t->z, dp, g->gate, dp);
  times_packed(rows, dp, 2 * op, t->dgates, 2 * op, n->gate_back, NULL, t->dz, dp);
  if (dropout)
    for (int64_t r = 0; r < rows; r++) drop(t->dz + r * dp, dp, dropout, first + r);
  return t->dz;
}

/* Replace elu(x) by the gradient of x: that of the result times the slope, 1 above 0 and e^x = elu(x) + 1 below. */
INLINE void through_elu(const float *gradient, float *elus, int64_t count) {
  for (int64_t i = 0; i < count; i += 8) {
    v8 inner = load(elus + i);
    store(elus + i, load(gradient + i) * pick(inner > splat(0.0f), splat(1.0f), inner + splat(1.0f)));
  }
}

/* The backward pass: leaves the gradient of x in `inner`, or in a plain gate, that of its input in `dz`. */
static void tile_backward(const Network *n, Tile *t, int64_t rows, const Dropout *dropout, uint64_t first,
                          Gradients *g) {
  const int64_t dp = n->dp;
  const float *dz = tile_gate_backward(n, t, rows, dropout, first, g);
  if (!n->has_hidden) return;
  for (int64_t r = 0; r < rows; r++)
    for (int64_t c = 0; c < dp; c += 8) store(g->hidden_bias + c, load(g->hidden_bias + c) + load(dz + r * dp + c));
  add_outer(dp, dp, rows, dz, dp, t->inner, dp, g->hidden, dp);
  times_packed(rows, dp, dp, dz, dp, n->hidden_back, NULL, t->back, dp);
  through_elu(t->back, t->inner, rows * dp);
}

/* Add the gradients of one thread to those in torch's layout. */
static void gradients_add(const Gradients *g, int64_t d, int64_t out, GrnParameters *p) {
  const int64_t dp = padded(d), op = padded(out);
  if (p->hidden_weight) {
    for (int64_t o = 0; o < d; o++) add_to(p->hidden_weight + o * d, g->hidden + o * dp, d);
    add_to(p->hidden_bias, g->hidden_bias, d);
  }
  for (int64_t o = 0; o < out; o++) {
    add_to(p->gate_weight + o * d, g->gate + o * dp, d);
    add_to(p->gate_weight + (out + o) * d, g->gate + (op + o) * dp, d);
  }
  add_to(p->gate_bias, g->gate_bias, out);
  add_to(p->gate_bias + out, g->gate_bias + op, out);
  add_to(p->gain, g->gain, out);
  add_to(p->shift, g->shift, out);
}
