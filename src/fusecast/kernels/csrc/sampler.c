/* The order in which windows are visited: the same numbers as `Permutation` in windows/sampler.py. */
#include "arguments.h"

#define INLINE static inline __attribute__((always_inline))

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

#define LANES 8 /* places computed side by side, to hide the latency of the multiplications */

/* Apply the Feistel network once: a bijection of the numbers below left * right. */
INLINE void apply_network(const OrderArguments *a, uint64_t left_inverse, uint64_t right_inverse, uint64_t *x,
                          const int lanes) {
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

int fusecast_window_order(OrderArguments *a) {
  const uint64_t left_inverse = UINT64_MAX / a->left, right_inverse = UINT64_MAX / a->right;
  for (int64_t i = 0; i < a->count; i += LANES) {
    uint64_t x[LANES] = {0};
    const int lanes = a->count - i < LANES ? (int)(a->count - i) : LANES;
    for (int k = 0; k < lanes; k++) x[k] = (uint64_t)a->places[i + k];
    apply_network(a, left_inverse, right_inverse, x, LANES);
    for (int k = 0; k < lanes; k++) {
      while (x[k] >= a->size) apply_network(a, left_inverse, right_inverse, x + k, 1);
      a->numbers[i + k] = (int64_t)x[k];
    }
  }
  return 0;
}
