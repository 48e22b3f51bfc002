/* Interpretable attention of one window at a time: scores, softmax, dropout, the mean over heads and the mixing of the
   shared values, without writing a score to memory. */
#include <omp.h>

#include "dropout.h"
#include "matmul.h"

typedef struct { /* memory of one thread; Tp, dp: padded */
  int64_t Tp, dp;
  float *memory;
  float *weights;      /* [heads, H, Tp] */
  float *dropped;      /* [H, Tp]: mean over heads after dropout */
  float *mean;         /* [H, Tp]: before dropout; the same memory where nothing is dropped */
  float *scores;       /* [H, Tp] */
  float *transposed;   /* [Tp / 16][d][16]: keys or values, transposed and packed */
  float *rows_of_head; /* [Tp, dp]: keys or values of a head, padded */
  float *queries;      /* [H, dp]: queries of a head, or gradients, padded */
  float *result;       /* [Tp, dp] */
} Workspace;

static int workspace_make(const AttentionArguments *a, Workspace *r) {
  const int64_t Tp = padded(a->steps), dp = padded(a->d), H = a->horizon;
  r->Tp = Tp, r->dp = dp;
  r->memory = floats((a->heads + 3) * H * Tp + Tp * a->d + 2 * Tp * dp + H * dp);
  if (!r->memory) return 0;
  r->weights = r->memory, r->dropped = r->weights + a->heads * H * Tp, r->scores = r->dropped + H * Tp;
  r->mean = a->dropout.threshold ? r->scores + H * Tp : r->dropped;
  r->transposed = r->scores + 2 * H * Tp, r->rows_of_head = r->transposed + Tp * a->d,
  r->queries = r->rows_of_head + Tp * dp;
  r->result = r->queries + H * dp;
  return 1;
}

INLINE void copy_rows(int64_t rows, int64_t width, const float *from, int64_t row_stride, float *to, int64_t to_apart) {
  for (int64_t r = 0; r < rows; r++) memcpy(to + r * to_apart, from + r * row_stride, width * sizeof(float));
}

/* Pack the transpose of rows [T, d], `row_stride` apart. */
static void pack_rows_transposed(int64_t T, int64_t d, const float *rows, int64_t row_stride, float *packed) {
  for (int64_t t = 0; t < T; t++)
    for (int64_t c = 0; c < d; c++) packed[(t / 16 * d + c) * 16 + t % 16] = rows[t * row_stride + c];
}

/* Softmax of a row of scores over the visible steps; the others, and the padding, become 0. */
static void softmax_row(const AttentionArguments *a, int64_t window, int64_t h, int64_t Tp, float *row) {
  const int64_t L = a->steps - a->horizon, visible_end = L + h + a->ahead;
  const uint8_t *mask = a->mask ? a->mask + window * L : NULL;
  const int64_t visible = visible_end < a->steps ? visible_end : a->steps;
  for (int64_t t = visible; t < Tp; t++) row[t] = -1e38f;
  for (int64_t t = 0; mask && t < L; t++)
    if (!mask[t]) row[t] = -1e38f;
  v8 maxima = splat(-1e38f), sum = splat(0.0f);
  for (int64_t t = 0; t < Tp; t += 8) maxima = pick(load(row + t) < maxima, maxima, load(row + t));
  float largest = maxima[0];
  for (int i = 1; i < 8; i++) largest = maxima[i] < largest ? largest : maxima[i];
  for (int64_t t = 0; t < Tp; t += 8) {
    v8 x = load(row + t);
    x = pick((x > splat(-1e37f)) | (x != x), exponential((x - splat(largest)) * splat(a->scale)), splat(0.0f));
    store(row + t, x);
    sum += x;
  }
  const float all = total(sum), share = all == 0.0f ? 0.0f : 1.0f / all;
  for (int64_t t = 0; t < Tp; t += 8) store(row + t, load(row + t) * splat(share));
}

/* Number of a row of weights, for dropout. */
INLINE uint64_t row_number(const AttentionArguments *a, int64_t window, int64_t head, int64_t h) {
  return (uint64_t)((window * a->heads + head) * a->horizon + h);
}

INLINE void add_scaled(float *sum, const float *row, int64_t Tp, float share) {
  for (int64_t t = 0; t < Tp; t += 8) store(sum + t, load(sum + t) + load(row + t) * splat(share));
}

/* Weights of every head, and their means before and after dropout. */
static void head_weights(const AttentionArguments *a, Workspace *r, int64_t window) {
  const int64_t H = a->horizon, T = a->steps, d = a->d, M = a->heads, Tp = r->Tp;
  const float share = 1.0f / (float)M;
  memset(r->dropped, 0, H * Tp * sizeof(float));
  memset(r->mean, 0, H * Tp * sizeof(float));
  for (int64_t m = 0; m < M; m++) {
    float *weights = r->weights + m * H * Tp;
    pack_rows_transposed(T, d, a->key + window * T * a->row_stride + m * d, a->row_stride, r->transposed);
    times_packed(H, Tp, d, a->query + (window * H * M + m) * d, M * d, r->transposed, NULL, weights, Tp);
    for (int64_t h = 0; h < H; h++) {
      softmax_row(a, window, h, Tp, weights + h * Tp);
      add_scaled(r->mean + h * Tp, weights + h * Tp, Tp, share);
      if (!a->dropout.threshold) continue;
      memcpy(r->scores, weights + h * Tp, Tp * sizeof(float));
      drop(r->scores, Tp, &a->dropout, row_number(a, window, m, h));
      add_scaled(r->dropped + h * Tp, r->scores, Tp, share);
    }
  }
}

static void forward(const AttentionArguments *a, Workspace *r, int64_t window) {
  const int64_t H = a->horizon, T = a->steps, d = a->d;
  head_weights(a, r, window);
  copy_rows(H, T, r->mean, r->Tp, a->mean + window * H * T, T);
  copy_rows(T, d, a->value + window * T * a->row_stride, a->row_stride, r->rows_of_head, r->dp);
  fusecast_product(H, r->dp, T, (LeftMatrix){r->dropped, r->Tp, 1}, r->rows_of_head, 16, r->dp, (InitialValue){NULL, 0},
                   r->result, r->dp);
  copy_rows(H, d, r->result, r->dp, a->mixed + window * H * d, d);
}

static void backward(const AttentionArguments *a, Workspace *r, int64_t window) {
  const int64_t H = a->horizon, T = a->steps, d = a->d, M = a->heads, Tp = r->Tp, dp = r->dp;
  head_weights(a, r, window);
  copy_rows(H, d, a->dmixed + window * H * d, d, r->queries, dp);
  memset(r->result, 0, Tp * dp * sizeof(float));
  add_outer(T, dp, H, r->dropped, Tp, r->queries, dp, r->result, dp);
  copy_rows(T, d, r->result, dp, a->dvalue + window * T * a->row_stride, a->row_stride);
  pack_rows_transposed(T, d, a->value + window * T * a->row_stride, a->row_stride, r->transposed);
  float *dmean = r->dropped; /* reused: from here on the gradient of the mean after dropout */
  times_packed(H, Tp, d, r->queries, dp, r->transposed, NULL, dmean, Tp);
  for (int64_t m = 0; m < M; m++) {
    const float *weights = r->weights + m * H * Tp;
    for (int64_t h = 0; h < H; h++) {
      float *row = r->scores + h * Tp;
      const float *w = weights + h * Tp;
      memcpy(row, dmean + h * Tp, Tp * sizeof(float));
      if (a->dropout.threshold) drop(row, Tp, &a->dropout, row_number(a, window, m, h));
      if (a->dmean) add_to(row, a->dmean + (window * H + h) * T, T);
      v8 dot = splat(0.0f);
      for (int64_t t = 0; t < Tp; t += 8) dot += load(row + t) * load(w + t);
      const v8 slope = splat(total(dot)), factor = splat(a->scale / (float)M);
      for (int64_t t = 0; t < Tp; t += 8) store(row + t, load(w + t) * (load(row + t) - slope) * factor);
    }
    copy_rows(T, d, a->key + window * T * a->row_stride + m * d, a->row_stride, r->rows_of_head, dp);
    fusecast_product(H, dp, T, (LeftMatrix){r->scores, Tp, 1}, r->rows_of_head, 16, dp, (InitialValue){NULL, 0},
                     r->result, dp);
    copy_rows(H, d, r->result, dp, a->dquery + (window * H * M + m) * d, M * d);
    copy_rows(H, d, a->query + (window * H * M + m) * d, M * d, r->queries, dp);
    memset(r->result, 0, Tp * dp * sizeof(float));
    add_outer(T, dp, H, r->scores, Tp, r->queries, dp, r->result, dp);
    copy_rows(T, d, r->result, dp, a->dkey + window * T * a->row_stride + m * d, a->row_stride);
  }
}

/* Returns 0, or 1 when there was no memory. */
static int run(AttentionArguments *a, int is_backward) {
  const int threads = a->threads < a->windows ? a->threads : (int)(a->windows ? a->windows : 1);
  int failed = 0;
#pragma omp parallel num_threads(threads) reduction(| : failed) if (threads > 1)
  {
    const int thread = omp_get_thread_num();
    Workspace workspace = {0};
    failed = !workspace_make(a, &workspace);
    for (int64_t w = a->windows * thread / threads; !failed && w < a->windows * (thread + 1) / threads; w++)
      (is_backward ? backward : forward)(a, &workspace, w);
    free(workspace.memory);
  }
  return failed;
}

int fusecast_attention_forward(AttentionArguments *a) { return run(a, 0); }
int fusecast_attention_backward(AttentionArguments *a) { return run(a, 1); }
