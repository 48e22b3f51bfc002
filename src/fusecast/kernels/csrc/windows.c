/* Windows of an encoded panel: all fields of a batch, or of several, in one pass; and the order in which they come. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

enum { PAST = 1, STEPS = 2, FUTURE = 4, TARGETS = 8, STATIC = 16 }; /* what a window lacks */

typedef struct {
  int64_t windows, batch; /* of all batches; of each but the last */
  int64_t series, stride, lookback, horizon;
  int64_t reals, targets, observed;         /* columns; the targets are the first of the observed */
  int64_t categories, observed_categories;
  int64_t static_reals, static_categories;
  int32_t scaling;                          /* 0: none, 1: by mean, 2: by the last value */
  int32_t wrong;                            /* result: there is no window of such a number */
  float floor;                              /* least scale of a window */
  const int64_t *indptr, *offsets, *cutoff; /* of the series' rows, of its windows, first of its cutoffs */
  const float *real;                        /* [N, reals] */
  const uint8_t *present;                   /* the same; or NULL: all of it */
  const int32_t *category;                  /* [N, categories] */
  const float *static_real;                 /* [S, static_reals] */
  const uint8_t *static_present;            /* the same; or NULL */
  const int32_t *static_category;           /* [S, static_categories] */
  const float *center, *scale;              /* [S, targets] */
  const float *position;                    /* [T], a last real; or NULL */
  const int64_t *number;                    /* [windows] */
  float *to_static_real, *to_past_real, *to_future_real, *to_target, *to_center, *to_scale, *to_weight;
  int64_t *to_static_cat, *to_past_cat, *to_future_cat;
  uint8_t *to_static_real_present, *to_past_real_present, *to_future_real_present, *to_past_mask, *to_target_mask; /* or NULL */
  uint8_t *lack;                            /* [windows], then [batches]; or NULL with the masks */
} Windows;

typedef struct {
  int64_t series;
  int64_t row;       /* of the panel, at step 0; may lie outside */
  int64_t from, end; /* steps that are the series' own */
} Span;

INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

/* Last of the offsets that is not above the number. */
INLINE int64_t series_of(const int64_t *offsets, int64_t series, int64_t number) {
  int64_t low = 0;
  for (int64_t left = series; left > 1;) {
    const int64_t half = left / 2;
    low += offsets[low + half] <= number ? half : 0;
    left -= half;
  }
  return low;
}

INLINE void copy_rows(int64_t rows, const int64_t count, const float *in, int64_t apart, float *to, int64_t width) {
  for (int64_t r = 0; r < rows; r++, in += apart, to += width)
    for (int64_t c = 0; c < count; c++) to[c] = in[c];
}

/* Columns out of wider rows; few columns, as there mostly are, without a loop over them. */
static void copy_columns(int64_t rows, int64_t count, const float *restrict in, int64_t apart, float *restrict to,
                         int64_t width) {
  switch (count) {
    case 1: copy_rows(rows, 1, in, apart, to, width); break;
    case 2: copy_rows(rows, 2, in, apart, to, width); break;
    case 3: copy_rows(rows, 3, in, apart, to, width); break;
    case 4: copy_rows(rows, 4, in, apart, to, width); break;
    case 5: copy_rows(rows, 5, in, apart, to, width); break;
    case 6: copy_rows(rows, 6, in, apart, to, width); break;
    case 7: copy_rows(rows, 7, in, apart, to, width); break;
    case 8: copy_rows(rows, 8, in, apart, to, width); break;
    default: copy_rows(rows, count, in, apart, to, width);
  }
}

/* Steps [from, end) of columns [skip, skip + count) out of rows `apart` wide; zeros at the other steps of `steps`. The
   last of the `width` columns is the position, where there is one. */
INLINE void copy_reals(const Windows *a, Span s, int64_t first, int64_t steps, int64_t skip, int64_t count, float *to,
                       int with_position) {
  const int64_t apart = a->reals, width = count + (with_position != 0);
  const int64_t from = least(most(s.from - first, 0), steps), end = most(from, least(s.end - first, steps));
  const float *in = a->real + (s.row + first + from) * apart + skip;
  if (from > 0) memset(to, 0, from * width * sizeof(float));
  if (count == apart && !with_position)
    memcpy(to + from * width, in, (end - from) * width * sizeof(float));
  else
    copy_columns(end - from, count, in, apart, to + from * width, width);
  if (end < steps) memset(to + end * width, 0, (steps - end) * width * sizeof(float));
  if (with_position)
    for (int64_t t = 0; t < steps; t++) to[t * width + count] = a->position[first + t];
}

INLINE void copy_categories(const Windows *a, Span s, int64_t first, int64_t steps, int64_t skip, int64_t *to) {
  const int64_t apart = a->categories, count = apart - skip;
  const int64_t from = least(most(s.from - first, 0), steps), end = most(from, least(s.end - first, steps));
  if (!count) return;
  const int32_t *in = a->category + (s.row + first + from) * apart;
  if (from > 0) memset(to, 0, from * count * sizeof(int64_t));
  if (!skip)
    for (int64_t i = 0; i < (end - from) * apart; i++) to[from * apart + i] = in[i];
  else
    for (int64_t t = from; t < end; t++, in += apart)
      for (int64_t c = 0; c < count; c++) to[t * count + c] = in[skip + c];
  if (end < steps) memset(to + end * count, 0, (steps - end) * count * sizeof(int64_t));
}

/* Whether a value is there: it is if nothing says that it is not. */
INLINE int there(const Windows *a, int64_t row, int64_t column) {
  return !a->present || a->present[row * a->reals + column];
}

/* Center and scale of one target over the lookback, in float64; and the target scaled by them, past and future. */
static void rescale(const Windows *a, Span s, int64_t w, int64_t y, int64_t series) {
  const int64_t L = a->lookback, H = a->horizon, Y = a->targets, width = a->reals + (a->position != NULL);
  const int64_t end = least(s.end, L);
  double sum = 0.0, squares = 0.0, last = 0.0;
  int64_t count = 0;
  for (int64_t t = s.from; t < end; t++)
    if (there(a, s.row + t, y)) {
      last = a->real[(s.row + t) * a->reals + y];
      sum += last;
      count++;
    }
  const double mean = count ? sum / (double)count : 0.0;
  for (int64_t t = s.from; t < end; t++)
    if (there(a, s.row + t, y)) {
      const double off = a->real[(s.row + t) * a->reals + y] - mean;
      squares += off * off;
    }
  const float spread = count ? (float)sqrt(squares / (double)count) : 1.0f;
  const float shift = (float)(a->scaling == 1 ? mean : last), factor = spread > a->floor ? spread : a->floor;
  float *past = a->to_past_real + w * L * width + y, *target = a->to_target + w * H * Y + y;
  for (int64_t t = s.from; t < end; t++)
    past[t * width] = there(a, s.row + t, y) ? (past[t * width] - shift) / factor : 0.0f;
  for (int64_t t = most(s.from, L); t < s.end; t++)
    target[(t - L) * Y] = there(a, s.row + t, y) ? (target[(t - L) * Y] - shift) / factor : 0.0f;
  const float scale = a->scale[series * Y + y];
  a->to_center[w * Y + y] = a->center[series * Y + y] + shift * scale;
  a->to_scale[w * Y + y] = scale * factor;
  a->to_weight[w * Y + y] = factor;
}

/* Fill the masks of a window; say which of them are of any use. */
static int fill_masks(const Windows *a, Span s, int64_t w, int64_t series) {
  const int64_t L = a->lookback, H = a->horizon, V = a->reals, C = a->categories, Y = a->targets;
  const int64_t past_width = V + (a->position != NULL), future_width = past_width - a->observed;
  uint8_t *past = a->to_past_real_present + w * L * past_width, *future = a->to_future_real_present + w * H * future_width;
  uint8_t *mask = a->to_past_mask + w * L, *target = a->to_target_mask + w * H * Y;
  int lack = 0;
  for (int64_t t = 0; t < L + H; t++) {
    const int inside = t >= s.from && t < s.end;
    const int64_t row = s.row + t;
    int any = 0, all = 1, future_all = 1, target_all = 1;
    for (int64_t v = 0; v < V; v++) {
      const uint8_t here = inside && there(a, row, v);
      any |= here;
      all &= here;
      if (t < L) {
        past[t * past_width + v] = here;
        continue;
      }
      if (v < Y) target[(t - L) * Y + v] = here, target_all &= here;
      if (v >= a->observed) future[(t - L) * future_width + v - a->observed] = here, future_all &= here;
    }
    if (t < L) {
      for (int64_t c = 0; inside && !any && c < C; c++) any |= a->category[row * C + c] != 0;
      mask[t] = (uint8_t)any;
      lack |= (any ? 0 : STEPS) | (any && !all ? PAST : 0); /* what a masked step lacks is never looked at */
      if (a->position) past[t * past_width + V] = 1;
    } else {
      lack |= (future_all ? 0 : FUTURE) | (target_all ? 0 : TARGETS);
      if (a->position) future[(t - L + 1) * future_width - 1] = 1;
    }
  }
  for (int64_t v = 0; a->static_present && v < a->static_reals; v++) {
    const uint8_t here = a->static_present[series * a->static_reals + v];
    a->to_static_real_present[w * a->static_reals + v] = here;
    lack |= here ? 0 : STATIC;
  }
  return lack;
}

INLINE Span span_of(const Windows *a, int64_t w) {
  const int64_t L = a->lookback, T = L + a->horizon;
  const int64_t number = a->number[w], series = series_of(a->offsets, a->series, number);
  const int64_t cutoff = a->cutoff[series] + (number - a->offsets[series]) * a->stride;
  const int64_t rows = a->indptr[series + 1] - a->indptr[series];
  Span s = {.series = series, .row = a->indptr[series] + cutoff - L, .from = least(most(L - cutoff, 0), T)};
  s.end = most(s.from, least(rows - cutoff + L, T));
  return s;
}

static void fill_window(const Windows *a, int64_t w) {
  const int64_t L = a->lookback, H = a->horizon, Y = a->targets, V = a->reals, position = a->position != NULL;
  const Span s = span_of(a, w);
  const int64_t series = s.series;

  copy_reals(a, s, 0, L, 0, V, a->to_past_real + w * L * (V + position), (int)position);
  copy_reals(a, s, L, H, a->observed, V - a->observed, a->to_future_real + w * H * (V - a->observed + position),
             (int)position);
  copy_reals(a, s, L, H, 0, Y, a->to_target + w * H * Y, 0);
  copy_categories(a, s, 0, L, 0, a->to_past_cat + w * L * a->categories);
  copy_categories(a, s, L, H, a->observed_categories, a->to_future_cat + w * H * (a->categories - a->observed_categories));
  for (int64_t v = 0; v < a->static_reals; v++)
    a->to_static_real[w * a->static_reals + v] = a->static_real[series * a->static_reals + v];
  for (int64_t c = 0; c < a->static_categories; c++)
    a->to_static_cat[w * a->static_categories + c] = a->static_category[series * a->static_categories + c];
  for (int64_t y = 0; y < Y; y++) {
    if (a->scaling) {
      rescale(a, s, w, y, series);
      continue;
    }
    a->to_center[w * Y + y] = a->center[series * Y + y];
    a->to_scale[w * Y + y] = a->scale[series * Y + y];
  }
  if (a->lack) a->lack[w] = (uint8_t)fill_masks(a, s, w, series);
}

int fusecast_windows_fill(Windows *a) {
  for (int64_t w = 0; w < a->windows; w++)
    if (a->number[w] < 0 || a->number[w] >= a->offsets[a->series]) a->wrong = 1;
  if (a->wrong) return 0;
  for (int64_t w = 0; w < a->windows; w++) fill_window(a, w);
  for (int64_t w = 0; a->lack && w < a->windows; w++) {
    uint8_t *of_batch = a->lack + a->windows + w / a->batch;
    *of_batch = (uint8_t)((w % a->batch ? *of_batch : 0) | a->lack[w]);
  }
  return 0;
}

/* ---- the order: what windows/order.py computes, in the same numbers ---- */

typedef struct {
  int64_t count;
  uint64_t size, left, right;
  const uint64_t *keys; /* [2 * rounds] */
  int64_t rounds;
  const int64_t *places;
  int64_t *numbers;
} Order;

INLINE uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

/* x % m, with `inverse` UINT64_MAX / m: the quotient so estimated is right, or one too small. */
INLINE uint64_t remainder_of(uint64_t x, uint64_t m, uint64_t inverse) {
  const uint64_t rest = x - (uint64_t)(((unsigned __int128)x * inverse) >> 64) * m;
  return rest >= m ? rest - m : rest;
}

INLINE uint64_t below(uint64_t x, uint64_t m) { return x >= m ? x - m : x; } /* x % m for x < 2 m */

#define LANES 8 /* places worked on side by side: each waits for its own multiplications */

/* One walk through the network: numbers below left * right, each another. */
INLINE void walk(const Order *a, uint64_t left_inverse, uint64_t right_inverse, uint64_t *x, const int lanes) {
  uint64_t left[LANES], right[LANES];
  for (int k = 0; k < lanes; k++) {
    right[k] = remainder_of(x[k], a->right, right_inverse);
    left[k] = (x[k] - right[k]) / a->right;
  }
  for (int64_t r = 0; r < a->rounds; r++) {
    const uint64_t left_key = a->keys[2 * r], right_key = a->keys[2 * r + 1];
#pragma GCC unroll 8
    for (int k = 0; k < lanes; k++)
      left[k] = below(left[k] + remainder_of(mix(right[k] + left_key), a->left, left_inverse), a->left);
#pragma GCC unroll 8
    for (int k = 0; k < lanes; k++)
      right[k] = below(right[k] + remainder_of(mix(left[k] + right_key), a->right, right_inverse), a->right);
  }
  for (int k = 0; k < lanes; k++) x[k] = left[k] * a->right + right[k];
}

int fusecast_windows_order(Order *a) {
  const uint64_t left_inverse = UINT64_MAX / a->left, right_inverse = UINT64_MAX / a->right;
  for (int64_t i = 0; i < a->count; i += LANES) {
    uint64_t x[LANES] = {0};
    const int lanes = a->count - i < LANES ? (int)(a->count - i) : LANES;
    for (int k = 0; k < lanes; k++) x[k] = (uint64_t)a->places[i + k];
    walk(a, left_inverse, right_inverse, x, LANES);
    for (int k = 0; k < lanes; k++) {
      while (x[k] >= a->size) walk(a, left_inverse, right_inverse, x + k, 1);
      a->numbers[i + k] = (int64_t)x[k];
    }
  }
  return 0;
}
