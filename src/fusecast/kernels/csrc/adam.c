/* Clipping gradients and the step of AdamW, over all parameters of a network in one call. */
#include <math.h>
#include <omp.h>

#include "simd.h"

enum { BLOCK = 8192 }; /* numbers that a thread takes at a time */

typedef struct {
  int64_t tensors;
  int32_t threads;
  double rate, decay, beta1, beta2, eps; /* of a step */
  double most, norm;                     /* of clipping: the largest norm, and the norm that was */
  const int64_t *start;                  /* [tensors + 1]: where each begins, were they end to end */
  float *const *parameter, *const *gradient, *const *mean, *const *square; /* [tensors] */
  float *const *steps;                   /* [tensors]: how many steps each has done, counted here */
} Adam;

typedef struct {
  int64_t tensor, begin, end; /* a stretch of one tensor */
} Stretch;

/* Gives the stretch at a place of all numbers end to end, up to `until` at most. */
INLINE Stretch stretch_at(const Adam *a, int64_t place, int64_t until) {
  int64_t low = 0, high = a->tensors;
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    if (a->start[middle] <= place) low = middle;
    else high = middle;
  }
  const int64_t last = a->start[low + 1] < until ? a->start[low + 1] : until;
  return (Stretch){low, place - a->start[low], last - a->start[low]};
}

static int64_t blocks_of(const Adam *a) { return (a->start[a->tensors] + BLOCK - 1) / BLOCK; }

static int threads_for(const Adam *a, int64_t blocks) { return a->threads < blocks ? a->threads : (int)(blocks ? blocks : 1); }

static int64_t end_of(const Adam *a, int64_t block) {
  const int64_t all = a->start[a->tensors], end = (block + 1) * BLOCK;
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

/* Scales all gradients so that their norm is `most` at most. The result does not depend on the number of threads. */
int fusecast_clip(Adam *a) {
  const int64_t blocks = blocks_of(a);
  double *sums = calloc(blocks ? blocks : 1, sizeof(double)), sum = 0;
  if (!sums) return 1;
  const int threads = threads_for(a, blocks);
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
  for (int64_t block = 0; block < blocks; block++)
    for (int64_t place = block * BLOCK, end = end_of(a, block); place < end;) {
      const Stretch s = stretch_at(a, place, end);
      sums[block] += sum_of_squares(a->gradient[s.tensor] + s.begin, s.end - s.begin);
      place += s.end - s.begin;
    }
  for (int64_t block = 0; block < blocks; block++) sum += sums[block];
  free(sums);
  a->norm = sqrt(sum);
  const double share = a->most / (a->norm + 1e-6);
  if (share >= 1.0) return 0; /* not so where the norm is no number: that must show */
  const float scale = (float)share;
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
  for (int64_t block = 0; block < blocks; block++)
    for (int64_t place = block * BLOCK, end = end_of(a, block); place < end;) {
      const Stretch s = stretch_at(a, place, end);
      for (int64_t i = s.begin; i < s.end; i++) a->gradient[s.tensor][i] *= scale;
      place += s.end - s.begin;
    }
  return 0;
}

/* What is the same for all numbers of a tensor. */
typedef struct {
  float decay, rate, from_mean, to_mean, from_square, to_square, per_root, eps;
} Factors;

static Factors factors_of(const Adam *a, double steps) {
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

static void move(float *p, const float *g, float *m, float *v, int64_t begin, int64_t end, Factors f) {
  for (int64_t i = begin; i < end; i++) {
    m[i] = f.from_mean * m[i] + f.to_mean * g[i];
    v[i] = f.from_square * v[i] + f.to_square * g[i] * g[i];
    p[i] = p[i] - f.decay * p[i] - f.rate * m[i] / (sqrtf(v[i]) * f.per_root + f.eps);
  }
}

/* Does one step (Loshchilov, Hutter 2019, algorithm 2). */
int fusecast_adamw(Adam *a) {
  const int64_t blocks = blocks_of(a);
  Factors *factors = malloc((a->tensors ? a->tensors : 1) * sizeof(Factors));
  if (!factors) return 1;
  for (int64_t t = 0; t < a->tensors; t++) factors[t] = factors_of(a, *a->steps[t] += 1);
  const int threads = threads_for(a, blocks);
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
  for (int64_t block = 0; block < blocks; block++)
    for (int64_t place = block * BLOCK, end = end_of(a, block); place < end;) {
      const Stretch s = stretch_at(a, place, end);
      move(a->parameter[s.tensor], a->gradient[s.tensor], a->mean[s.tensor], a->square[s.tensor], s.begin, s.end,
           factors[s.tensor]);
      place += s.end - s.begin;
    }
  free(factors);
  return 0;
}
