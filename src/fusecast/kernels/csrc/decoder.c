/* Prediction from the selected vectors to the input of the head: LSTM, gates, enrichment and attention of a few windows
   at a time, so that all intermediate results stay in the caches. No gradients, no dropout.

   Weights are folded, padded and packed (model/decoder.py): `dp` is d padded to a multiple of 16, and all rows have dp
   numbers. The query's map includes the scale of the scores. Where the horizon is short ("folded"), keys and values are
   never computed: a query is multiplied once by the transpose of the keys' map and then by the steps themselves, which
   are also what the weights average; the values' map is part of the gate that follows. Otherwise ("projected") keys and
   values are computed as usual. */
#include <omp.h>

#include "arguments.h"
#include "matmul.h"

typedef struct { /* memory of one thread */
  int64_t T, tile_size, values, columns, columns_per_head, width; /* columns: of all heads, padded */
  int64_t row_stride, projected_width;
  float *memory;
  float *steps, *state, *cells, *sums;  /* LSTM: [group_size][T, dp] outputs, 16 numbers more each; [group_size, ..] */
  float *gates, *local, *inner;         /* [tile_size, 2 dp], [tile_size, dp], [tile_size, dp] */
  float *enriched;                      /* [T, row_stride] of one window */
  float *residual, *queries_in, *mixed; /* [group_size H, dp]: local, enriched, attended, of all windows' horizons */
  float *query, *folded_query, *packed, *panel; /* [H, dp], [H, heads, dp], [columns / 16][width][16], [T, 16] */
  float *mean, *projected;                      /* [T, columns_per_head], [T, projected_width] */
} Workspace;

static float *next_buffer(float **memory, int64_t count) {
  float *buffer = *memory;
  *memory += padded(count);
  return buffer;
}

static int64_t lay_out(const DecoderArguments *a, Workspace *r, float *memory) {
  float *const begin = memory;
  const int64_t T = a->lookback + a->horizon, H = a->horizon, dp = a->dp, n = a->group_size, head = a->d / a->heads;
  const int64_t tiles = (T + 47) / 48;
  r->T = T, r->tile_size = ((T + tiles - 1) / tiles + 5) / 6 * 6, r->row_stride = dp + 16;
  r->width = a->folded ? dp : head, r->values = a->folded ? dp : padded(head);
  r->columns_per_head = a->folded ? (H + 7) / 8 * 8 : padded(H), r->columns = padded(a->heads * r->columns_per_head);
  r->projected_width = a->folded ? 0 : dp + r->values;
  r->steps = next_buffer(&memory, n * (T * dp + 16)), r->state = next_buffer(&memory, n * dp),
  r->cells = next_buffer(&memory, n * dp);
  r->sums = next_buffer(&memory, n * 4 * dp), r->gates = next_buffer(&memory, r->tile_size * 2 * dp);
  r->local = next_buffer(&memory, r->tile_size * dp), r->inner = next_buffer(&memory, r->tile_size * dp);
  r->enriched = next_buffer(&memory, T * r->row_stride), r->residual = next_buffer(&memory, n * H * dp);
  r->queries_in = next_buffer(&memory, n * H * dp), r->mixed = next_buffer(&memory, n * H * dp),
  r->query = next_buffer(&memory, H * dp);
  r->folded_query = next_buffer(&memory, H * a->heads * dp), r->packed = next_buffer(&memory, r->columns * r->width);
  r->panel = next_buffer(&memory, T * 16), r->mean = next_buffer(&memory, T * r->columns_per_head),
  r->projected = next_buffer(&memory, T * r->projected_width);
  return memory - begin;
}

static void map_rows(PackedMap map, int64_t rows, int64_t outputs, int64_t inputs, const float *x, int64_t row_stride,
                     float *y) {
  times_packed(rows, outputs, inputs, x, row_stride, map.weight, map.bias, y, outputs);
}

/* ---- LSTM ---- */

/* sigmoid(gate) * tanh(x), in one division. */
INLINE v8 gated_tanh(v8 gate, v8 x) {
  const v8 e = exponential(at_most(x + x, 40.0f)), one = splat(1.0f);
  return (e - one) / ((e + one) * (one + exponential(-gate)));
}

static void cell_step(int64_t dp, const float *sums, float *cell, float *hidden) {
  for (int64_t c = 0; c < dp; c += 8) {
    const v8 in = load(sums + c), keep = sigmoid(load(sums + dp + c)), new = load(sums + 2 * dp + c);
    const v8 state = keep * load(cell + c) + gated_tanh(in, new);
    store(cell + c, state), store(hidden + c, gated_tanh(load(sums + 3 * dp + c), state));
  }
}

static void set_state(const float *states, int64_t first, int64_t count, int64_t dp, float *to) {
  if (states)
    memcpy(to, states + first * dp, count * dp * sizeof(float));
  else
    memset(to, 0, count * dp * sizeof(float));
}

static void run_lstm(const DecoderArguments *a, Workspace *r, int64_t first, int64_t n) {
  const int64_t dp = a->dp, L = a->lookback, T = r->T, row_stride = T * dp + 16, size = 4 * dp * dp;
  for (int64_t layer = 0; layer < a->layers; layer++) {
    set_state(a->hidden, first, n, dp, r->state), set_state(a->cell, first, n, dp, r->cells);
    for (int64_t t = 0; t < T; t++) {
      const int future = t >= L;
      const int64_t step = future ? t - L : t, which = future * a->layers + layer;
      const float *sums = future ? a->future_sums : a->past_sums;
      InitialValue start = {r->sums, 4 * dp};
      if (layer == 0 && sums) {
        const int64_t stride = future ? a->future_sums_stride : a->past_sums_stride;
        start = (InitialValue){sums + first * stride + step * 4 * dp, stride};
      } else {
        const int64_t stride = layer ? row_stride : future ? a->future_stride : a->past_stride;
        const float *x = layer ? r->steps + t * dp : (future ? a->future : a->past) + first * stride + step * dp;
        times_packed(n, 4 * dp, dp, x, stride, a->from_input + which * size, a->bias + which * 4 * dp, r->sums, 4 * dp);
      }
      fusecast_product(n, 4 * dp, dp, (LeftMatrix){r->state, dp, 1}, a->from_state + which * size, 16 * dp, 16, start,
                       r->sums, 4 * dp);
      for (int64_t w = 0; w < n; w++) {
        float *to = r->steps + w * row_stride + t * dp, *state = r->state + w * dp;
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

typedef struct { /* what is added to a gate: rows `row_stride` apart; from row `until` on, those of `rest` */
  const float *first, *rest;
  int64_t row_stride, until;
} Residual;

/* y = gain * norm(residual + values * sigmoid(gates)) + shift */
static void gate_rows(const DecoderArguments *a, const PackedGate *g, int64_t rows, int64_t inputs, const float *x,
                      int64_t x_stride, Residual residual, float *gates, float *y, int64_t row_stride) {
  const int64_t dp = a->dp;
  const float share = 1.0f / (float)a->d, padding = (float)(dp - a->d);
  map_rows(g->map, rows, 2 * dp, inputs, x, x_stride, gates);
  for (int64_t r = 0; r < rows; r++) {
    const float *values = gates + r * 2 * dp;
    const float *skip = r < residual.until ? residual.first + r * residual.row_stride
                                           : residual.rest + (r - residual.until) * residual.row_stride;
    float *to = y + r * row_stride;
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
static void grn_rows(const DecoderArguments *a, const float *first_map, const float *bias, const PackedGate *g,
                     int64_t rows, const float *x, Workspace *r, float *y, int64_t row_stride) {
  const int64_t dp = a->dp;
  map_rows((PackedMap){first_map, bias}, rows, dp, dp, x, dp, r->inner);
  for (int64_t i = 0; i < rows * dp; i += 8) store(r->inner + i, elu(load(r->inner + i)));
  gate_rows(a, g, rows, dp, r->inner, dp, (Residual){x, NULL, dp, rows}, r->gates, y, row_stride);
}

static void copy(int64_t rows, int64_t width, const float *from, int64_t row_stride, float *to) {
  for (int64_t r = 0; r < rows; r++) memcpy(to + r * width, from + r * row_stride, width * sizeof(float));
}

/* From the LSTM's outputs of a window, the w-th of the group, to its enriched steps. */
static void enrich(const DecoderArguments *a, Workspace *r, int64_t window, int64_t w) {
  const int64_t dp = a->dp, L = a->lookback, H = a->horizon, T = r->T;
  const float *past = a->past + window * a->past_stride, *future = a->future + window * a->future_stride;
  for (int64_t t = 0; t < T; t += r->tile_size) {
    const int64_t rows = T - t < r->tile_size ? T - t : r->tile_size, residual_rows = L - t;
    const Residual selected = {past + t * dp, future + (residual_rows < 0 ? -residual_rows : 0) * dp, dp,
                               residual_rows < 0 ? 0 : residual_rows};
    gate_rows(a, &a->after_recurrence, rows, dp, r->steps + w * (T * dp + 16) + t * dp, dp, selected, r->gates,
              r->local, dp);
    grn_rows(a, a->enrich_input.weight, a->context + window * dp, &a->enrich, rows, r->local, r,
             r->enriched + t * r->row_stride, r->row_stride);
    const int64_t skip = residual_rows > 0 ? residual_rows : 0;
    if (skip < rows) copy(rows - skip, dp, r->local + skip * dp, dp, r->residual + (w * H + t + skip - L) * dp);
  }
  copy(H, dp, r->enriched + L * r->row_stride, r->row_stride, r->queries_in + w * H * dp);
}

/* ---- attention ---- */

/* Pack queries [H, heads, width] as the right side of a product, `columns_per_head` columns a head. */
static void pack_queries(const DecoderArguments *a, const Workspace *r, const float *queries, int64_t row_stride) {
  const int64_t width = r->width;
  for (int64_t m = 0; m < a->heads; m++)
    for (int64_t h = 0; h < a->horizon; h++) {
      const int64_t column = m * r->columns_per_head + h;
      const float *from = queries + h * row_stride + m * width;
      float *to = r->packed + column / 16 * width * 16 + column % 16;
      for (int64_t c = 0; c < width; c++) to[c * 16] = from[c];
    }
}

/* Softmax over the steps for eight steps of the horizon, from the h-th on; its share is added to the mean. */
static void softmax_columns(const DecoderArguments *a, const Workspace *r, const uint8_t *mask, int64_t h,
                            float *scores, float *mean) {
  const int64_t L = a->lookback, T = r->T;
  const i8 query_step = (i8){0, 1, 2, 3, 4, 5, 6, 7} + (int32_t)(h + a->ahead);
  const v8 hidden_score = splat(-1e38f);
  v8 maxima = hidden_score, sum = splat(0.0f);
  for (int64_t t = 0; mask && t < L; t++)
    if (!mask[t]) store(scores + t * 16, hidden_score);
  for (int64_t t = L; t < T; t++)
    store(scores + t * 16, pick(query_step > (int32_t)(t - L), load(scores + t * 16), hidden_score));
  for (int64_t t = 0; t < T; t++) {
    const v8 x = load(scores + t * 16);
    maxima = pick(x < maxima, maxima, x);
  }
  for (int64_t t = 0; t < T; t++) {
    v8 x = load(scores + t * 16);
    x = pick((x > splat(-1e37f)) | (x != x), exponential(x - maxima), splat(0.0f));
    store(scores + t * 16, x);
    sum += x;
  }
  const v8 share = pick(sum == splat(0.0f), sum, splat(1.0f) / (sum * splat((float)a->heads)));
  for (int64_t t = 0; t < T; t++)
    store(mean + t * r->columns_per_head, load(mean + t * r->columns_per_head) + load(scores + t * 16) * share);
}

static void attend(const DecoderArguments *a, Workspace *r, int64_t window, int64_t w) {
  const int64_t dp = a->dp, L = a->lookback, H = a->horizon, T = r->T, M = a->heads, head = a->d / M;
  const uint8_t *mask = a->mask ? a->mask + window * L : NULL;
  map_rows(a->query, H, dp, dp, r->enriched + L * r->row_stride, r->row_stride, r->query);
  if (a->folded) {
    for (int64_t m = 0; m < M; m++)
      fusecast_product(H, dp, head, (LeftMatrix){r->query + m * head, dp, 1}, a->key + m * head * dp, 16, dp,
                       (InitialValue){NULL, 0}, r->folded_query + m * dp, M * dp);
    pack_queries(a, r, r->folded_query, M * dp);
  } else {
    map_rows(a->projection, T, r->projected_width, dp, r->enriched, r->row_stride, r->projected);
    pack_queries(a, r, r->query, dp);
  }
  memset(r->mean, 0, T * r->columns_per_head * sizeof(float));
  for (int64_t j = 0; j < r->columns; j += 16) {
    const LeftMatrix steps = a->folded
                                 ? (LeftMatrix){r->enriched, r->row_stride, 1}
                                 : (LeftMatrix){r->projected + j / r->columns_per_head * head, r->projected_width, 1};
    fusecast_product(T, 16, r->width, steps, r->packed + j * r->width, 0, 16, (InitialValue){NULL, 0}, r->panel, 16);
    for (int64_t c = j; c < j + 16 && c < M * r->columns_per_head; c += 8)
      softmax_columns(a, r, mask, c % r->columns_per_head, r->panel + c - j, r->mean + c % r->columns_per_head);
  }
  const float *right = a->folded ? r->enriched : r->projected + dp;
  fusecast_product(H, r->values, T, (LeftMatrix){r->mean, 1, r->columns_per_head}, right, 16,
                   a->folded ? r->row_stride : r->projected_width, (InitialValue){NULL, 0},
                   r->mixed + w * H * r->values, r->values);
  for (int64_t h = 0; a->attention && h < H; h++)
    for (int64_t t = 0; t < T; t++) a->attention[(window * H + h) * T + t] = r->mean[t * r->columns_per_head + h];
}

/* What follows the attention, for the steps of the horizon of all windows of the group. */
static void finish_horizon(const DecoderArguments *a, Workspace *r, int64_t first, int64_t n) {
  const int64_t dp = a->dp, all = n * a->horizon;
  for (int64_t i = 0; i < all; i += r->tile_size) {
    const int64_t rows = all - i < r->tile_size ? all - i : r->tile_size;
    float *fused = r->local, *queries_in = r->queries_in + i * dp;
    gate_rows(a, &a->after_attention, rows, r->values, r->mixed + i * r->values, r->values,
              (Residual){queries_in, NULL, dp, rows}, r->gates, fused, dp);
    grn_rows(a, a->position_input.weight, a->position_input.bias, &a->position_wise, rows, fused, r, queries_in, dp);
    gate_rows(a, &a->before_head, rows, dp, queries_in, dp, (Residual){r->residual + i * dp, NULL, dp, rows}, r->gates,
              a->decoded + (first * a->horizon + i) * dp, dp);
  }
}

/* Returns 0, or 1 when there was no memory. */
int fusecast_decode(DecoderArguments *a) {
  if (!a->windows) return 0;
  const int64_t rounds = (a->windows + a->group_size * a->threads - 1) / (a->group_size * a->threads);
  a->group_size =
      (a->windows + rounds * a->threads - 1) / (rounds * a->threads); /* groups of one size for all threads */
  const int64_t groups = (a->windows + a->group_size - 1) / a->group_size;
  const int threads = a->threads < groups ? a->threads : (int)groups;
  int failed = 0;
#pragma omp parallel num_threads(threads) reduction(| : failed) if (threads > 1)
  {
    const int thread = omp_get_thread_num();
    Workspace r = {0};
    r.memory = aligned_alloc(64, lay_out(a, &r, NULL) * sizeof(float));
    failed = !r.memory;
    if (!failed) {
      lay_out(a, &r, r.memory);
      memset(r.packed, 0, r.columns * r.width * sizeof(float)); /* columns without a query stay 0 */
    }
    for (int64_t group = groups * thread / threads; !failed && group < groups * (thread + 1) / threads; group++) {
      const int64_t first = group * a->group_size,
                    n = a->windows - first < a->group_size ? a->windows - first : a->group_size;
      run_lstm(a, &r, first, n);
      for (int64_t w = 0; w < n; w++) {
        enrich(a, &r, first + w, w);
        attend(a, &r, first + w, w);
      }
      finish_horizon(a, &r, first, n);
    }
    free(r.memory);
  }
  return failed;
}
