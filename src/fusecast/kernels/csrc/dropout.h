/* Dropout as a function of (seed, row, column) alone: no mask is stored, and the number of threads changes nothing. */
#pragma once
#include "arguments.h"
#include "simd.h"

INLINE uint64_t scramble(uint64_t x) { /* splitmix64 */
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

/* Sixteen random bits a column: multiply the row x [width, a multiple of 16] by 0 or by the scale. */
INLINE void drop(float *x, int64_t width, const Dropout *dropout, uint64_t row) {
  const uint64_t key = scramble(dropout->seed ^ scramble(row));
  const u8 lanes = (u8){0, 1, 2, 3, 4, 5, 6, 7} * 0x9E3779B9u + (uint32_t)key;
  const i8 threshold = (i8){} + (int32_t)dropout->threshold;
  const v8 scale = splat(dropout->scale);
  for (int64_t c = 0; c < width; c += 16) {
    u8 bits = lanes + (uint32_t)(c / 2) * 0x9E3779B9u;
    bits = (bits ^ (bits >> 16)) * 0x21F0AAADu + (uint32_t)(key >> 32);
    bits = (bits ^ (bits >> 15)) * 0x735A2D97u;
    bits ^= bits >> 15;
    i8 low = (i8)(bits & 0xFFFFu) >= threshold, high = (i8)(bits >> 16) >= threshold;
    store(x + c, (v8)(low & (i8)(load(x + c) * scale)));
    store(x + c + 8, (v8)(high & (i8)(load(x + c + 8) * scale)));
  }
}
