/* Prediction, from the selected vectors to what the head is given: LSTM, gates, enrichment and attention of a few windows
   at a time, so that nothing leaves the caches. No gradients, no dropout.

   Weights come folded, padded and packed (decode.py): `dp` is d padded to a multiple of 16, and all rows have dp numbers.
   Queries carry the scale of the scores. Where the horizon is short ("folded"), keys and values are never made: a query
   is taken through the transpose of the keys' map once and then meets the steps themselves, of which the weights'
   mean is taken; the values' map is part of the gate behind. Otherwise ("projected") keys and values are made as usual. */
#include <omp.h>

#include "matmul.h"

typedef struct {
  const float *weight, *bias; /* packed [outputs / 16][inputs][16]; [outputs] */
} Map;

typedef struct {
  Map map;                   /* 2 dp outputs: values, then gates */
  const float *gain, *shift; /* of the norm behind */
} Gate;

typedef struct {
  int64_t windows, lookback, horizon, d, dp, heads, layers, together; /* together: windows in a group */
  int32_t threads, folded;
  int32_t ahead; /* step h of the horizon sees the steps before L + h + ahead */
  float eps;
  int64_t past_apart, future_apart, past_sums_apart, future_sums_apart; /* numbers from one window to the next */
  const float *past, *future;           /* selected vectors: [windows, L, dp] and [windows, H, dp]; may overlap */
  const float *past_sums, *future_sums; /* what they and the biases add to the gates of the LSTM, [.., 4 dp]; or NULL */
  const float *hidden, *cell;           /* [windows, dp]: states to start from; or NULL */
  const float *context;                 /* [windows, dp]: with the bias of the enrichment's first map in it */
  const uint8_t *mask;                  /* [windows, L]; or NULL */
  const float *from_input, *from_state, *bias; /* of the LSTM: encoder, decoder; of each, all layers */
  Gate after_recurrence, enrich, after_attention, position_wise, before_head; /* enrich, position_wise: hidden maps in */
  Map enrich_input, position_input, query, projection; /* projection: keys, then values padded; only where projected */
  const float *key;                                    /* [d, dp]; only where folded */
  float *decoded, *attention; /* [windows, H, dp]; [windows, H, T], NULL where nobody asks */
} Decode;

typedef struct { /* what one thread works with */
  int64_t T, tall, values, columns, each, width, apart, made; /* tall: rows of a tile; columns: all heads' queries, padded */
  float *memory;
  float *steps, *state, *cells, *sums;    /* LSTM: [together][T, dp] outputs, a line more each; [together, ..] */
  float *gates, *local, *inner;           /* [tall, 2 dp], [tall, dp], [tall, dp] */
  float *enriched;                        /* [T, apart] of one window */
  float *around, *asked, *mixed;          /* of the horizon of all windows: local, enriched, attended [together H, dp] */
  float *query, *turned, *packed, *panel; /* [H, dp], [H, heads, dp], [columns / 16][width][16], [T, 16] */
  float *mean, *projected;                /* [T, each], [T, made] */
} Room;

static float *take(float **memory, int64_t count) {
  float *taken = *memory;
  *memory += padded(count);
  return taken;
}

static int64_t lay_out(const Decode *a, Room *r, float *memory) {
  float *const begin = memory;
  const int64_t T = a->lookback + a->horizon, H = a->horizon, dp = a->dp, n = a->together, head = a->d / a->heads;
  const int64_t tiles = (T + 47) / 48;
  r->T = T, r->tall = ((T + tiles - 1) / tiles + 5) / 6 * 6, r->apart = dp + 16;
  r->width = a->folded ? dp : head, r->values = a->folded ? dp : padded(head);
  r->each = a->folded ? (H + 7) / 8 * 8 : padded(H), r->columns = padded(a->heads * r->each);
  r->made = a->folded ? 0 : dp + r->values;
  r->steps = take(&memory, n * (T * dp + 16)), r->state = take(&memory, n * dp), r->cells = take(&memory, n * dp);
  r->sums = take(&memory, n * 4 * dp), r->gates = take(&memory, r->tall * 2 * dp);
  r->local = take(&memory, r->tall * dp), r->inner = take(&memory, r->tall * dp);
  r->enriched = take(&memory, T * r->apart), r->around = take(&memory, n * H * dp);
  r->asked = take(&memory, n * H * dp), r->mixed = take(&memory, n * H * dp), r->query = take(&memory, H * dp);
  r->turned = take(&memory, H * a->heads * dp), r->packed = take(&memory, r->columns * r->width);
  r->panel = take(&memory, T * 16), r->mean = take(&memory, T * r->each), r->projected = take(&memory, T * r->made);
  return memory - begin;
}

static void map_rows(Map map, int64_t rows, int64_t outputs, int64_t inputs, const float *x, int64_t apart, float *y) {
  times_packed(rows, outputs, inputs, x, apart, map.weight, map.bias, y, outputs);
}

/* ---- LSTM ---- */

/* sigmoid(gate) * tanh(x), in one division. */
INLINE v8 let_through(v8 gate, v8 x) {
  const v8 e = exponential(at_most(x + x, 40.0f)), one = splat(1.0f);
  return (e - one) / ((e + one) * (one + exponential(-gate)));
}

static void cell_step(int64_t dp, const float *sums, float *cell, float *hidden) {
  for (int64_t c = 0; c < dp; c += 8) {
    const v8 in = load(sums + c), keep = sigmoid(load(sums + dp + c)), new = load(sums + 2 * dp + c);
    const v8 state = keep * load(cell + c) + let_through(in, new);
    store(cell + c, state), store(hidden + c, let_through(load(sums + 3 * dp + c), state));
  }
}

static void begin_with(const float *states, int64_t first, int64_t count, int64_t dp, float *to) {
  if (states)
    memcpy(to, states + first * dp, count * dp * sizeof(float));
  else
    memset(to, 0, count * dp * sizeof(float));
}

static void remember(const Decode *a, Room *r, int64_t first, int64_t n) {
  const int64_t dp = a->dp, L = a->lookback, T = r->T, apart = T * dp + 16, size = 4 * dp * dp;
  for (int64_t layer = 0; layer < a->layers; layer++) {
    begin_with(a->hidden, first, n, dp, r->state), begin_with(a->cell, first, n, dp, r->cells);
    for (int64_t t = 0; t < T; t++) {
      const int future = t >= L;
      const int64_t step = future ? t - L : t, which = future * a->layers + layer;
      const float *sums = future ? a->future_sums : a->past_sums;
      Start start = {r->sums, 4 * dp};
      if (layer == 0 && sums) {
        const int64_t away = future ? a->future_sums_apart : a->past_sums_apart;
        start = (Start){sums + first * away + step * 4 * dp, away};
      } else {
        const int64_t away = layer ? apart : future ? a->future_apart : a->past_apart;
        const float *x = layer ? r->steps + t * dp : (future ? a->future : a->past) + first * away + step * dp;
        times_packed(n, 4 * dp, dp, x, away, a->from_input + which * size, a->bias + which * 4 * dp, r->sums, 4 * dp);
      }
      fusecast_product(n, 4 * dp, dp, (Left){r->state, dp, 1}, a->from_state + which * size, 16 * dp, 16, start, r->sums,
                       4 * dp);
      for (int64_t w = 0; w < n; w++) {
        float *to = r->steps + w * apart + t * dp, *state = r->state + w * dp;
        if (a->mask && !future && !a->mask[(first + w) * L + t]) {
          memset(to, 0, dp * sizeof(float));
          continue;
        }
        cell_step(dp, r->sums + w * 4 * dp, r->cells + w * dp, state);
        memcpy(to, state, dp * sizeof(float));
      }
    }
  }
}

/* ---- rows ---- */

typedef struct { /* what goes around a gate: rows `apart`; from row `until` on, those of `rest` */
  const float *first, *rest;
  int64_t apart, until;
} Around;

/* y = gain * norm(around + values * sigmoid(gates)) + shift */
static void gate_rows(const Decode *a, const Gate *g, int64_t rows, int64_t inputs, const float *x, int64_t x_apart,
                      Around around, float *gates, float *y, int64_t apart) {
  const int64_t dp = a->dp;
  const float share = 1.0f / (float)a->d, padding = (float)(dp - a->d);
  map_rows(g->map, rows, 2 * dp, inputs, x, x_apart, gates);
  for (int64_t r = 0; r < rows; r++) {
    const float *values = gates + r * 2 * dp;
    const float *skip = r < around.until ? around.first + r * around.apart : around.rest + (r - around.until) * around.apart;
    float *to = y + r * apart;
    v8 sum = splat(0.0f), squares = splat(0.0f);
    for (int64_t c = 0; c < dp; c += 8) {
      const v8 u = load(skip + c) + load(values + c) * sigmoid(load(values + dp + c));
      store(to + c, u);
      sum += u;
    }
    const float mean = total(sum) * share;
    for (int64_t c = 0; c < dp; c += 8) {
      const v8 u = load(to + c) - splat(mean);
      store(to + c, u);
      squares += u * u;
    }
    const float variance = (total(squares) - padding * mean * mean) * share; /* padding is 0 before, -mean now */
    const v8 factor = splat(1.0f / __builtin_sqrtf(variance + a->eps));
    for (int64_t c = 0; c < dp; c += 8) store(to + c, load(to + c) * factor * load(g->gain + c) + load(g->shift + c));
  }
}

/* A gated residual network: its first map, with this bias or context, then ELU, then hidden map and gate in one. */
static void grn_rows(const Decode *a, const float *first_map, const float *bias, const Gate *g, int64_t rows,
                     const float *x, Room *r, float *y, int64_t apart) {
  const int64_t dp = a->dp;
  map_rows((Map){first_map, bias}, rows, dp, dp, x, dp, r->inner);
  for (int64_t i = 0; i < rows * dp; i += 8) store(r->inner + i, elu(load(r->inner + i)));
  gate_rows(a, g, rows, dp, r->inner, dp, (Around){x, NULL, dp, rows}, r->gates, y, apart);
}

static void copy(int64_t rows, int64_t width, const float *from, int64_t apart, float *to) {
  for (int64_t r = 0; r < rows; r++) memcpy(to + r * width, from + r * apart, width * sizeof(float));
}

/* From the LSTM's outputs of a window, number `w` of the group, to its enriched steps. */
static void enrich(const Decode *a, Room *r, int64_t window, int64_t w) {
  const int64_t dp = a->dp, L = a->lookback, H = a->horizon, T = r->T;
  const float *past = a->past + window * a->past_apart, *future = a->future + window * a->future_apart;
  for (int64_t t = 0; t < T; t += r->tall) {
    const int64_t rows = T - t < r->tall ? T - t : r->tall, until = L - t;
    const Around selected = {past + t * dp, future + (until < 0 ? -until : 0) * dp, dp, until < 0 ? 0 : until};
    gate_rows(a, &a->after_recurrence, rows, dp, r->steps + w * (T * dp + 16) + t * dp, dp, selected, r->gates, r->local,
              dp);
    grn_rows(a, a->enrich_input.weight, a->context + window * dp, &a->enrich, rows, r->local, r,
             r->enriched + t * r->apart, r->apart);
    const int64_t skip = until > 0 ? until : 0;
    if (skip < rows)
      copy(rows - skip, dp, r->local + skip * dp, dp, r->around + (w * H + t + skip - L) * dp);
  }
  copy(H, dp, r->enriched + L * r->apart, r->apart, r->asked + w * H * dp);
}

/* ---- attention ---- */

/* Pack queries [H, heads, width] as the right side of a product, `each` columns a head. */
static void pack_queries(const Decode *a, const Room *r, const float *queries, int64_t apart) {
  const int64_t width = r->width;
  for (int64_t m = 0; m < a->heads; m++)
    for (int64_t h = 0; h < a->horizon; h++) {
      const int64_t column = m * r->each + h;
      const float *from = queries + h * apart + m * width;
      float *to = r->packed + column / 16 * width * 16 + column % 16;
      for (int64_t c = 0; c < width; c++) to[c * 16] = from[c];
    }
}

/* Softmax over the steps for eight steps of the horizon that ask, from the h-th on; its share is added to the mean. */
static void soften(const Decode *a, const Room *r, const uint8_t *mask, int64_t h, float *scores, float *mean) {
  const int64_t L = a->lookback, T = r->T;
  const i8 asking = (i8){0, 1, 2, 3, 4, 5, 6, 7} + (int32_t)(h + a->ahead);
  const v8 unseen = splat(-1e38f);
  v8 most = unseen, sum = splat(0.0f);
  for (int64_t t = 0; mask && t < L; t++)
    if (!mask[t]) store(scores + t * 16, unseen);
  for (int64_t t = L; t < T; t++) store(scores + t * 16, pick(asking > (int32_t)(t - L), load(scores + t * 16), unseen));
  for (int64_t t = 0; t < T; t++) {
    const v8 x = load(scores + t * 16);
    most = pick(x < most, most, x);
  }
  for (int64_t t = 0; t < T; t++) {
    v8 x = load(scores + t * 16);
    x = pick((x > splat(-1e37f)) | (x != x), exponential(x - most), splat(0.0f));
    store(scores + t * 16, x);
    sum += x;
  }
  const v8 share = pick(sum == splat(0.0f), sum, splat(1.0f) / (sum * splat((float)a->heads)));
  for (int64_t t = 0; t < T; t++)
    store(mean + t * r->each, load(mean + t * r->each) + load(scores + t * 16) * share);
}

static void attend(const Decode *a, Room *r, int64_t window, int64_t w) {
  const int64_t dp = a->dp, L = a->lookback, H = a->horizon, T = r->T, M = a->heads, head = a->d / M;
  const uint8_t *mask = a->mask ? a->mask + window * L : NULL;
  map_rows(a->query, H, dp, dp, r->enriched + L * r->apart, r->apart, r->query);
  if (a->folded) {
    for (int64_t m = 0; m < M; m++)
      fusecast_product(H, dp, head, (Left){r->query + m * head, dp, 1}, a->key + m * head * dp, 16, dp, (Start){NULL, 0},
                       r->turned + m * dp, M * dp);
    pack_queries(a, r, r->turned, M * dp);
  } else {
    map_rows(a->projection, T, r->made, dp, r->enriched, r->apart, r->projected);
    pack_queries(a, r, r->query, dp);
  }
  memset(r->mean, 0, T * r->each * sizeof(float));
  for (int64_t j = 0; j < r->columns; j += 16) {
    const Left steps = a->folded ? (Left){r->enriched, r->apart, 1}
                                 : (Left){r->projected + j / r->each * head, r->made, 1};
    fusecast_product(T, 16, r->width, steps, r->packed + j * r->width, 0, 16, (Start){NULL, 0}, r->panel, 16);
    for (int64_t c = j; c < j + 16 && c < M * r->each; c += 8)
      soften(a, r, mask, c % r->each, r->panel + c - j, r->mean + c % r->each);
  }
  const float *right = a->folded ? r->enriched : r->projected + dp;
  fusecast_product(H, r->values, T, (Left){r->mean, 1, r->each}, right, 16, a->folded ? r->apart : r->made,
                   (Start){NULL, 0}, r->mixed + w * H * r->values, r->values);
  for (int64_t h = 0; a->attention && h < H; h++)
    for (int64_t t = 0; t < T; t++) a->attention[(window * H + h) * T + t] = r->mean[t * r->each + h];
}

/* The steps of the horizon of all windows of the group, behind the attention. */
static void conclude(const Decode *a, Room *r, int64_t first, int64_t n) {
  const int64_t dp = a->dp, all = n * a->horizon;
  for (int64_t i = 0; i < all; i += r->tall) {
    const int64_t rows = all - i < r->tall ? all - i : r->tall;
    float *fused = r->local, *asked = r->asked + i * dp;
    gate_rows(a, &a->after_attention, rows, r->values, r->mixed + i * r->values, r->values,
              (Around){asked, NULL, dp, rows}, r->gates, fused, dp);
    grn_rows(a, a->position_input.weight, a->position_input.bias, &a->position_wise, rows, fused, r, asked, dp);
    gate_rows(a, &a->before_head, rows, dp, asked, dp, (Around){r->around + i * dp, NULL, dp, rows}, r->gates,
              a->decoded + (first * a->horizon + i) * dp, dp);
  }
}

/* Returns 0, or 1 when there was no memory. */
int fusecast_decode(Decode *a) {
  if (!a->windows) return 0;
  const int64_t rounds = (a->windows + a->together * a->threads - 1) / (a->together * a->threads);
  a->together = (a->windows + rounds * a->threads - 1) / (rounds * a->threads); /* groups of one size for all threads */
  const int64_t groups = (a->windows + a->together - 1) / a->together;
  const int threads = a->threads < groups ? a->threads : (int)groups;
  int failed = 0;
#pragma omp parallel num_threads(threads) reduction(| : failed) if (threads > 1)
  {
    const int me = omp_get_thread_num();
    Room r = {0};
    r.memory = aligned_alloc(64, lay_out(a, &r, NULL) * sizeof(float));
    failed = !r.memory;
    if (!failed) {
      lay_out(a, &r, r.memory);
      memset(r.packed, 0, r.columns * r.width * sizeof(float)); /* where no step asks, it stays so */
    }
    for (int64_t group = groups * me / threads; !failed && group < groups * (me + 1) / threads; group++) {
      const int64_t first = group * a->together, n = a->windows - first < a->together ? a->windows - first : a->together;
      remember(a, &r, first, n);
      for (int64_t w = 0; w < n; w++) {
        enrich(a, &r, first + w, w);
        attend(a, &r, first + w, w);
      }
      conclude(a, &r, first, n);
    }
    free(r.memory);
  }
  return failed;
}
