/* Eight floats at a time, in the vector extensions of GCC and Clang, which compile to the machine's instructions; and
   zeroed buffers. */
#pragma once
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef float v8 __attribute__((vector_size(32), aligned(4), may_alias));
typedef int32_t i8 __attribute__((vector_size(32), aligned(4), may_alias));
typedef uint32_t u8 __attribute__((vector_size(32), aligned(4), may_alias));

#ifdef __AVX__
#include <immintrin.h>
#endif

#define INLINE static inline __attribute__((always_inline))

INLINE v8 load(const float *p) { return *(const v8 *)p; }
INLINE void store(float *p, v8 x) { *(v8 *)p = x; }
INLINE v8 splat(float x) { return (v8){x, x, x, x, x, x, x, x}; }

/* Where x is NaN, so is the result of the two bounds. The plain versions compute the same as the intrinsics. */
#ifdef __AVX__
INLINE v8 pick(i8 mask, v8 yes, v8 no) { return (v8)_mm256_blendv_ps((__m256)no, (__m256)yes, (__m256)mask); }
INLINE v8 at_least(v8 x, float low) { return (v8)_mm256_max_ps((__m256)splat(low), (__m256)x); }
INLINE v8 at_most(v8 x, float high) { return (v8)_mm256_min_ps((__m256)splat(high), (__m256)x); }
INLINE float total(v8 x) {
  __m128 half = _mm_add_ps(_mm256_castps256_ps128((__m256)x), _mm256_extractf128_ps((__m256)x, 1));
  half = _mm_add_ps(half, _mm_movehl_ps(half, half));
  return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
}
/* 1 / x for x from 1 on: an estimate of 12 bits and a step of Newton's; a division takes three times as long. */
INLINE v8 reciprocal(v8 x) {
  v8 y = (v8)_mm256_rcp_ps((__m256)x);
  return y * (splat(2.0f) - x * y);
}
#else
INLINE v8 reciprocal(v8 x) { return splat(1.0f) / x; }
INLINE v8 pick(i8 mask, v8 yes, v8 no) { return (v8)((mask & (i8)yes) | (~mask & (i8)no)); }
INLINE v8 at_least(v8 x, float low) { return pick(x < splat(low), splat(low), x); }
INLINE v8 at_most(v8 x, float high) { return pick(x > splat(high), splat(high), x); }
INLINE float total(v8 x) { return ((x[0] + x[4]) + (x[2] + x[6])) + ((x[1] + x[5]) + (x[3] + x[7])); }
#endif

/* e^x to a few units in the last place: x log2(e) = n + r, and a polynomial for 2^r, fitted to the relative error over
   [-1/2, 1/2] (1e-7). NaN stays NaN. */
INLINE v8 exponential(v8 x) {
  const v8 log2e = splat(1.44269504088896341f);
  v8 shifted, r, y;
  x = at_most(at_least(x, -87.3f), 88.0f);
  shifted = x * log2e + splat(12582912.0f); /* 1.5 * 2^23: rounds to an integer */
  r = x * log2e - (shifted - splat(12582912.0f));
  y = splat(1.32647276e-3f);
  y = y * r + splat(9.67151268e-3f);
  y = y * r + splat(5.55073374e-2f);
  y = y * r + splat(2.40222421e-1f);
  y = y * r + splat(6.93146978e-1f);
  y = y * r + splat(1.0f);
  return (v8)((i8)y + ((i8)shifted << 23));
}

INLINE v8 sigmoid(v8 x) { return reciprocal(splat(1.0f) + exponential(-x)); }
INLINE v8 hyperbolic_tangent(v8 x) { return splat(1.0f) - splat(2.0f) * reciprocal(splat(1.0f) + exponential(x + x)); }
INLINE v8 elu(v8 x) { return pick(x > splat(0.0f), x, exponential(x) - splat(1.0f)); }

/* ---- buffers ---- */

INLINE int64_t padded(int64_t width) { return (width + 15) / 16 * 16; }

static float *floats(int64_t count) { /* zeroed, aligned to a cache line; NULL when there is no memory */
  size_t bytes = ((size_t)count * sizeof(float) + 63) / 64 * 64 + 64;
  float *memory = aligned_alloc(64, bytes);
  if (memory) memset(memory, 0, bytes);
  return memory;
}

INLINE void add_to(float *sum, const float *part, int64_t count) {
  for (int64_t i = 0; i < count; i++) sum[i] += part[i];
}
