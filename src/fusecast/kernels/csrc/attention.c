/* Interpretable attention of one window at a time: scores, softmax, dropout, the mean over heads and the mixing of the
   shared values, without writing a score to memory. */
#include <omp.h>

#include "matmul.h"

typedef struct {
  int64_t windows, heads, horizon, steps, d, apart; /* d: width of a head */
  int32_t threads;
  int32_t ahead;       /* step h of the horizon sees the steps before L + h + ahead */
  float scale;         /* of the scores */
  Dropout dropout;
  const uint8_t *mask; /* [windows, steps - horizon], or NULL */
  const float *query;  /* [windows, horizon, heads, d] */
  const float *key;    /* [windows, steps, heads, d], steps `apart` numbers, as those of the value */
  const float *value;  /* [windows, steps, d] */
  float *mixed, *mean; /* [windows, horizon, d]; [windows, horizon, steps]: before dropout */
  const float *dmixed, *dmean; /* backward only, with the rest; dmean: NULL for none */
  float *dquery, *dkey, *dvalue;
} Attention;

typedef struct { /* what one thread works with; Tp, dp: padded */
  int64_t Tp, dp;
  float *memory;
  float *weights; /* [heads, H, Tp] */
  float *dropped; /* [H, Tp]: mean over heads after dropout */
  float *mean;    /* [H, Tp]: before; the same memory where nothing is dropped */
  float *scores;  /* [H, Tp] */
  float *across;  /* [Tp / 16][d][16]: keys or values, transposed and packed */
  float *along;   /* [Tp, dp]: keys or values of a head, padded */
  float *asking;  /* [H, dp]: queries of a head, or gradients, padded */
  float *result;  /* [Tp, dp] */
} Room;

static int room_make(const Attention *a, Room *r) {
  const int64_t Tp = padded(a->steps), dp = padded(a->d), H = a->horizon;
  r->Tp = Tp, r->dp = dp;
  r->memory = floats((a->heads + 3) * H * Tp + Tp * a->d + 2 * Tp * dp + H * dp);
  if (!r->memory) return 0;
  r->weights = r->memory, r->dropped = r->weights + a->heads * H * Tp, r->scores = r->dropped + H * Tp;
  r->mean = a->dropout.threshold ? r->scores + H * Tp : r->dropped;
  r->across = r->scores + 2 * H * Tp, r->along = r->across + Tp * a->d, r->asking = r->along + Tp * dp;
  r->result = r->asking + H * dp;
  return 1;
}

INLINE void copy_rows(int64_t rows, int64_t width, const float *from, int64_t apart, float *to, int64_t to_apart) {
  for (int64_t r = 0; r < rows; r++) memcpy(to + r * to_apart, from + r * apart, width * sizeof(float));
}

/* Pack rows [T, d], `apart` from one another, as their transpose. */
static void turn(int64_t T, int64_t d, const float *rows, int64_t apart, float *packed) {
  for (int64_t t = 0; t < T; t++)
    for (int64_t c = 0; c < d; c++) packed[(t / 16 * d + c) * 16 + t % 16] = rows[t * apart + c];
}

/* Softmax of a row of scores over the steps that are seen; what is not seen, and the padding, becomes 0. */
static void soften(const Attention *a, int64_t window, int64_t h, int64_t Tp, float *row) {
  const int64_t L = a->steps - a->horizon, until = L + h + a->ahead;
  const uint8_t *mask = a->mask ? a->mask + window * L : NULL;
  const int64_t seen = until < a->steps ? until : a->steps;
  for (int64_t t = seen; t < Tp; t++) row[t] = -1e38f;
  for (int64_t t = 0; mask && t < L; t++)
    if (!mask[t]) row[t] = -1e38f;
  v8 most = splat(-1e38f), sum = splat(0.0f);
  for (int64_t t = 0; t < Tp; t += 8) most = pick(load(row + t) < most, most, load(row + t));
  float largest = most[0];
  for (int i = 1; i < 8; i++) largest = most[i] < largest ? largest : most[i];
  for (int64_t t = 0; t < Tp; t += 8) {
    v8 x = load(row + t);
    x = pick((x > splat(-1e37f)) | (x != x), exponential((x - splat(largest)) * splat(a->scale)), splat(0.0f));
    store(row + t, x);
    sum += x;
  }
  const float all = total(sum), share = all == 0.0f ? 0.0f : 1.0f / all;
  for (int64_t t = 0; t < Tp; t += 8) store(row + t, load(row + t) * splat(share));
}

/* Number of a row of weights, by which dropout knows it. */
INLINE uint64_t row_number(const Attention *a, int64_t window, int64_t head, int64_t h) {
  return (uint64_t)((window * a->heads + head) * a->horizon + h);
}

INLINE void add_share(float *sum, const float *row, int64_t Tp, float share) {
  for (int64_t t = 0; t < Tp; t += 8) store(sum + t, load(sum + t) + load(row + t) * splat(share));
}

/* Weights of every head, and their means before and after dropout. */
static void weigh(const Attention *a, Room *r, int64_t window) {
  const int64_t H = a->horizon, T = a->steps, d = a->d, M = a->heads, Tp = r->Tp;
  const float share = 1.0f / (float)M;
  memset(r->dropped, 0, H * Tp * sizeof(float));
  memset(r->mean, 0, H * Tp * sizeof(float));
  for (int64_t m = 0; m < M; m++) {
    float *weights = r->weights + m * H * Tp;
    turn(T, d, a->key + window * T * a->apart + m * d, a->apart, r->across);
    times_packed(H, Tp, d, a->query + (window * H * M + m) * d, M * d, r->across, NULL, weights, Tp);
    for (int64_t h = 0; h < H; h++) {
      soften(a, window, h, Tp, weights + h * Tp);
      add_share(r->mean + h * Tp, weights + h * Tp, Tp, share);
      if (!a->dropout.threshold) continue;
      memcpy(r->scores, weights + h * Tp, Tp * sizeof(float));
      drop(r->scores, Tp, &a->dropout, row_number(a, window, m, h));
      add_share(r->dropped + h * Tp, r->scores, Tp, share);
    }
  }
}

static void forward(const Attention *a, Room *r, int64_t window) {
  const int64_t H = a->horizon, T = a->steps, d = a->d;
  weigh(a, r, window);
  copy_rows(H, T, r->mean, r->Tp, a->mean + window * H * T, T);
  copy_rows(T, d, a->value + window * T * a->apart, a->apart, r->along, r->dp);
  fusecast_product(H, r->dp, T, (Left){r->dropped, r->Tp, 1}, r->along, 16, r->dp, (Start){NULL, 0}, r->result, r->dp);
  copy_rows(H, d, r->result, r->dp, a->mixed + window * H * d, d);
}

static void backward(const Attention *a, Room *r, int64_t window) {
  const int64_t H = a->horizon, T = a->steps, d = a->d, M = a->heads, Tp = r->Tp, dp = r->dp;
  weigh(a, r, window);
  copy_rows(H, d, a->dmixed + window * H * d, d, r->asking, dp);
  memset(r->result, 0, Tp * dp * sizeof(float));
  add_outer(T, dp, H, r->dropped, Tp, r->asking, dp, r->result, dp);
  copy_rows(T, d, r->result, dp, a->dvalue + window * T * a->apart, a->apart);
  turn(T, d, a->value + window * T * a->apart, a->apart, r->across);
  float *dmean = r->dropped; /* its own use is over: from here, the gradient of the mean after dropout */
  times_packed(H, Tp, d, r->asking, dp, r->across, NULL, dmean, Tp);
  for (int64_t m = 0; m < M; m++) {
    const float *weights = r->weights + m * H * Tp;
    for (int64_t h = 0; h < H; h++) {
      float *row = r->scores + h * Tp;
      const float *w = weights + h * Tp;
      memcpy(row, dmean + h * Tp, Tp * sizeof(float));
      if (a->dropout.threshold) drop(row, Tp, &a->dropout, row_number(a, window, m, h));
      if (a->dmean) add_to(row, a->dmean + (window * H + h) * T, T);
      v8 along = splat(0.0f);
      for (int64_t t = 0; t < Tp; t += 8) along += load(row + t) * load(w + t);
      const v8 slope = splat(total(along)), factor = splat(a->scale / (float)M);
      for (int64_t t = 0; t < Tp; t += 8) store(row + t, load(w + t) * (load(row + t) - slope) * factor);
    }
    copy_rows(T, d, a->key + window * T * a->apart + m * d, a->apart, r->along, dp);
    fusecast_product(H, dp, T, (Left){r->scores, Tp, 1}, r->along, 16, dp, (Start){NULL, 0}, r->result, dp);
    copy_rows(H, d, r->result, dp, a->dquery + (window * H * M + m) * d, M * d);
    copy_rows(H, d, a->query + (window * H * M + m) * d, M * d, r->asking, dp);
    memset(r->result, 0, Tp * dp * sizeof(float));
    add_outer(T, dp, H, r->scores, Tp, r->asking, dp, r->result, dp);
    copy_rows(T, d, r->result, dp, a->dkey + window * T * a->apart + m * d, a->apart);
  }
}

/* Returns 0, or 1 when there was no memory. */
static int run(Attention *a, int is_backward) {
  const int threads = a->threads < a->windows ? a->threads : (int)(a->windows ? a->windows : 1);
  int failed = 0;
#pragma omp parallel num_threads(threads) reduction(| : failed) if (threads > 1)
  {
    const int me = omp_get_thread_num();
    Room room = {0};
    failed = !room_make(a, &room);
    for (int64_t w = a->windows * me / threads; !failed && w < a->windows * (me + 1) / threads; w++)
      (is_backward ? backward : forward)(a, &room, w);
    free(room.memory);
  }
  return failed;
}

int fusecast_attention_forward(Attention *a) { return run(a, 0); }
int fusecast_attention_backward(Attention *a) { return run(a, 1); }
