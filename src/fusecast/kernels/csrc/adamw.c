/* Clipping gradients and the step of AdamW, over all parameters of a network in one call. */
#include <math.h>
#include <omp.h>

#include "arguments.h"
#include "simd.h"

enum { BLOCK = 8192 }; /* numbers that a thread updates at a time */

typedef struct {
  int64_t tensor, begin, end; /* a slice of one tensor */
} Slice;

/* The slice that begins at a position of all numbers end to end, and ends at `limit` at most. */
INLINE Slice slice_at(const AdamWArguments *a, int64_t position, int64_t limit) {
  int64_t low = 0, high = a->tensors;
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    if (a->offsets[middle] <= position)
      low = middle;
    else
      high = middle;
  }
  const int64_t last = a->offsets[low + 1] < limit ? a->offsets[low + 1] : limit;
  return (Slice){low, position - a->offsets[low], last - a->offsets[low]};
}

static int64_t blocks_of(const AdamWArguments *a) { return (a->offsets[a->tensors] + BLOCK - 1) / BLOCK; }

static int threads_for(const AdamWArguments *a, int64_t blocks) {
  return a->threads < blocks ? a->threads : (int)(blocks ? blocks : 1);
}

static int64_t end_of(const AdamWArguments *a, int64_t block) {
  const int64_t all = a->offsets[a->tensors], end = (block + 1) * BLOCK;
  return end < all ? end : all;
}

static double sum_of_squares(const float *x, int64_t count) {
  v8 sums = splat(0.0f);
  int64_t i = 0;
  for (; i + 8 <= count; i += 8) sums += load(x + i) * load(x + i);
  double sum = total(sums);
  for (; i < count; i++) sum += (double)x[i] * x[i];
  return sum;
}

/* Scale all gradients so that their norm is at most `max_norm`. The result does not depend on the number of threads. */
int fusecast_clip(AdamWArguments *a) {
  const int64_t blocks = blocks_of(a);
  double *sums = calloc(blocks ? blocks : 1, sizeof(double)), sum = 0;
  if (!sums) return 1;
  const int threads = threads_for(a, blocks);
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
  for (int64_t block = 0; block < blocks; block++)
    for (int64_t position = block * BLOCK, end = end_of(a, block); position < end;) {
      const Slice s = slice_at(a, position, end);
      sums[block] += sum_of_squares(a->gradient[s.tensor] + s.begin, s.end - s.begin);
      position += s.end - s.begin;
    }
  for (int64_t block = 0; block < blocks; block++) sum += sums[block];
  free(sums);
  a->norm = sqrt(sum);
  const double share = a->max_norm / (a->norm + 1e-6);
  if (share >= 1.0) return 0; /* false where the norm is NaN, which must not be hidden */
  const float scale = (float)share;
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
  for (int64_t block = 0; block < blocks; block++)
    for (int64_t position = block * BLOCK, end = end_of(a, block); position < end;) {
      const Slice s = slice_at(a, position, end);
      for (int64_t i = s.begin; i < s.end; i++) a->gradient[s.tensor][i] *= scale;
      position += s.end - s.begin;
    }
  return 0;
}

/* Factors that are the same for all numbers of a tensor. */
typedef struct {
  float decay, rate, from_mean, to_mean, from_square, to_square, per_root, eps;
} Factors;

static Factors factors_of(const AdamWArguments *a, double steps) {
  const double first = 1 - pow(a->beta1, steps), second = 1 - pow(a->beta2, steps);
  return (Factors){
      .decay = (float)(a->rate * a->decay),
      .rate = (float)(a->rate / first),
      .from_mean = (float)a->beta1,
      .to_mean = (float)(1 - a->beta1),
      .from_square = (float)a->beta2,
      .to_square = (float)(1 - a->beta2),
      .per_root = (float)(1 / sqrt(second)),
      .eps = (float)a->eps,
  };
}

static void update(float *p, const float *g, float *m, float *v, int64_t begin, int64_t end, Factors f) {
  for (int64_t i = begin; i < end; i++) {
    m[i] = f.from_mean * m[i] + f.to_mean * g[i];
    v[i] = f.from_square * v[i] + f.to_square * g[i] * g[i];
    p[i] = p[i] - f.decay * p[i] - f.rate * m[i] / (sqrtf(v[i]) * f.per_root + f.eps);
  }
}

/* Do one step (Loshchilov, Hutter 2019, algorithm 2). */
int fusecast_adamw(AdamWArguments *a) {
  const int64_t blocks = blocks_of(a);
  Factors *factors = malloc((a->tensors ? a->tensors : 1) * sizeof(Factors));
  if (!factors) return 1;
  for (int64_t t = 0; t < a->tensors; t++) factors[t] = factors_of(a, *a->steps[t] += 1);
  const int threads = threads_for(a, blocks);
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
  for (int64_t block = 0; block < blocks; block++)
    for (int64_t position = block * BLOCK, end = end_of(a, block); position < end;) {
      const Slice s = slice_at(a, position, end);
      update(a->parameter[s.tensor], a->gradient[s.tensor], a->mean[s.tensor], a->square[s.tensor], s.begin, s.end,
             factors[s.tensor]);
      position += s.end - s.begin;
    }
  free(factors);
  return 0;
}
