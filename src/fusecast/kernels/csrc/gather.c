/* Windows of an encoded panel: all fields of a batch, or of several, in one pass. */
#include <math.h>
#include <string.h>

#include "arguments.h"

#define INLINE static inline __attribute__((always_inline))

enum { PAST = 1, STEPS = 2, FUTURE = 4, TARGETS = 8, STATIC = 16 }; /* masks that a window needs */

typedef struct {
  int64_t series;
  int64_t row;       /* of the panel, at step 0; may lie outside */
  int64_t from, end; /* steps inside the series */
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

INLINE void copy_rows(int64_t rows, const int64_t count, const float *in, int64_t stride, float *to, int64_t width) {
  for (int64_t r = 0; r < rows; r++, in += stride, to += width)
    for (int64_t c = 0; c < count; c++) to[c] = in[c];
}

/* Copy columns out of wider rows; for up to 8 columns, the usual case, without a loop over them. */
static void copy_columns(int64_t rows, int64_t count, const float *restrict in, int64_t stride, float *restrict to,
                         int64_t width) {
  switch (count) {
    case 1: copy_rows(rows, 1, in, stride, to, width); break;
    case 2: copy_rows(rows, 2, in, stride, to, width); break;
    case 3: copy_rows(rows, 3, in, stride, to, width); break;
    case 4: copy_rows(rows, 4, in, stride, to, width); break;
    case 5: copy_rows(rows, 5, in, stride, to, width); break;
    case 6: copy_rows(rows, 6, in, stride, to, width); break;
    case 7: copy_rows(rows, 7, in, stride, to, width); break;
    case 8: copy_rows(rows, 8, in, stride, to, width); break;
    default: copy_rows(rows, count, in, stride, to, width);
  }
}

/* Steps [from, end) of columns [skip, skip + count) out of rows `stride` wide; zeros at the other steps of `steps`. The
   last of the `width` columns is the position, where there is one. */
INLINE void copy_reals(const GatherArguments *a, Span s, int64_t first, int64_t steps, int64_t skip, int64_t count,
                       float *to, int with_position) {
  const int64_t stride = a->reals, width = count + (with_position != 0);
  const int64_t from = least(most(s.from - first, 0), steps), end = most(from, least(s.end - first, steps));
  const float *in = a->real + (s.row + first + from) * stride + skip;
  if (from > 0) memset(to, 0, from * width * sizeof(float));
  if (count == stride && !with_position)
    memcpy(to + from * width, in, (end - from) * width * sizeof(float));
  else
    copy_columns(end - from, count, in, stride, to + from * width, width);
  if (end < steps) memset(to + end * width, 0, (steps - end) * width * sizeof(float));
  if (with_position)
    for (int64_t t = 0; t < steps; t++) to[t * width + count] = a->position[first + t];
}

INLINE void copy_categories(const GatherArguments *a, Span s, int64_t first, int64_t steps, int64_t skip, int64_t *to) {
  const int64_t stride = a->categories, count = stride - skip;
  const int64_t from = least(most(s.from - first, 0), steps), end = most(from, least(s.end - first, steps));
  if (!count) return;
  const int32_t *in = a->category + (s.row + first + from) * stride;
  if (from > 0) memset(to, 0, from * count * sizeof(int64_t));
  if (!skip)
    for (int64_t i = 0; i < (end - from) * stride; i++) to[from * stride + i] = in[i];
  else
    for (int64_t t = from; t < end; t++, in += stride)
      for (int64_t c = 0; c < count; c++) to[t * count + c] = in[skip + c];
  if (end < steps) memset(to + end * count, 0, (steps - end) * count * sizeof(int64_t));
}

/* Whether a value is present: true without a mask. */
INLINE int is_present(const GatherArguments *a, int64_t row, int64_t column) {
  return !a->present || a->present[row * a->reals + column];
}

/* Center and scale of one target over the lookback, in float64; and the target scaled by them, past and future. */
static void rescale(const GatherArguments *a, Span s, int64_t w, int64_t y, int64_t series) {
  const int64_t L = a->lookback, H = a->horizon, Y = a->targets, width = a->reals + (a->position != NULL);
  const int64_t end = least(s.end, L);
  double sum = 0.0, squares = 0.0, late = 0.0;
  int64_t count = 0;
  for (int64_t t = s.from; t < end; t++)
    if (is_present(a, s.row + t, y)) {
      sum += a->real[(s.row + t) * a->reals + y];
      count++;
    }
  const double mean = count ? sum / (double)count : 0.0;
  for (int64_t t = s.from; t < end; t++)
    if (is_present(a, s.row + t, y)) {
      const double off = a->real[(s.row + t) * a->reals + y] - mean;
      squares += off * off;
    }
  const int64_t wanted = least(a->count_of_center, count);
  int64_t found = 0;
  for (int64_t t = end - 1; found < wanted; t--)
    if (is_present(a, s.row + t, y)) {
      late += a->real[(s.row + t) * a->reals + y];
      found++;
    }
  const float spread = count ? (float)sqrt(squares / (double)count) : 1.0f;
  const float shift = (float)(wanted ? late / (double)wanted : mean), factor = spread > a->floor ? spread : a->floor;
  float *past = a->to_past_real + w * L * width + y, *target = a->to_target + w * H * Y + y;
  for (int64_t t = s.from; t < end; t++)
    past[t * width] = is_present(a, s.row + t, y) ? (past[t * width] - shift) / factor : 0.0f;
  for (int64_t t = most(s.from, L); t < s.end; t++)
    target[(t - L) * Y] = is_present(a, s.row + t, y) ? (target[(t - L) * Y] - shift) / factor : 0.0f;
  const float scale = a->scale[series * Y + y];
  a->to_center[w * Y + y] = a->center[series * Y + y] + shift * scale;
  a->to_scale[w * Y + y] = scale * factor;
  a->to_weight[w * Y + y] = factor;
}

/* Fill the masks of a window; return which of them hide anything. */
static int fill_masks(const GatherArguments *a, Span s, int64_t w, int64_t series) {
  const int64_t L = a->lookback, H = a->horizon, V = a->reals, C = a->categories, Y = a->targets;
  const int64_t past_width = V + (a->position != NULL), future_width = past_width - a->observed;
  uint8_t *past = a->to_past_real_present + w * L * past_width,
          *future = a->to_future_real_present + w * H * future_width;
  uint8_t *mask = a->to_past_mask + w * L, *target = a->to_target_mask + w * H * Y;
  int lack = 0;
  for (int64_t t = 0; t < L + H; t++) {
    const int inside = t >= s.from && t < s.end;
    const int64_t row = s.row + t;
    int any = 0, all = 1, future_all = 1, target_all = 1;
    for (int64_t v = 0; v < V; v++) {
      const uint8_t here = inside && is_present(a, row, v);
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
      lack |= (any ? 0 : STEPS) | (any && !all ? PAST : 0); /* values of a masked step are never used */
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

INLINE Span span_of(const GatherArguments *a, int64_t w) {
  const int64_t L = a->lookback, T = L + a->horizon;
  const int64_t number = a->number[w], series = series_of(a->offsets, a->series, number);
  const int64_t cutoff = a->cutoff[series] + (number - a->offsets[series]) * a->stride;
  const int64_t rows = a->indptr[series + 1] - a->indptr[series];
  Span s = {.series = series, .row = a->indptr[series] + cutoff - L, .from = least(most(L - cutoff, 0), T)};
  s.end = most(s.from, least(rows - cutoff + L, T));
  return s;
}

static void fill_window(const GatherArguments *a, int64_t w) {
  const int64_t L = a->lookback, H = a->horizon, Y = a->targets, V = a->reals, position = a->position != NULL;
  const Span s = span_of(a, w);
  const int64_t series = s.series;

  copy_reals(a, s, 0, L, 0, V, a->to_past_real + w * L * (V + position), (int)position);
  copy_reals(a, s, L, H, a->observed, V - a->observed, a->to_future_real + w * H * (V - a->observed + position),
             (int)position);
  copy_reals(a, s, L, H, 0, Y, a->to_target + w * H * Y, 0);
  copy_categories(a, s, 0, L, 0, a->to_past_cat + w * L * a->categories);
  copy_categories(a, s, L, H, a->observed_categories,
                  a->to_future_cat + w * H * (a->categories - a->observed_categories));
  for (int64_t v = 0; v < a->static_reals; v++)
    a->to_static_real[w * a->static_reals + v] = a->static_real[series * a->static_reals + v];
  for (int64_t c = 0; c < a->static_categories; c++)
    a->to_static_cat[w * a->static_categories + c] = a->static_category[series * a->static_categories + c];
  for (int64_t y = 0; y < Y; y++) {
    if (a->scaled) {
      rescale(a, s, w, y, series);
      continue;
    }
    a->to_center[w * Y + y] = a->center[series * Y + y];
    a->to_scale[w * Y + y] = a->scale[series * Y + y];
  }
  if (a->lack) a->lack[w] = (uint8_t)fill_masks(a, s, w, series);
}

int fusecast_gather(GatherArguments *a) {
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
