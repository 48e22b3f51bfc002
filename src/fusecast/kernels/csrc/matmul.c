#include "matmul.h"

/* C[mr, 16] = start + A[mr, K] B[K, 16]; element (i, k) of A is at A[i * rows_apart + k * columns_apart]. The start is
   0 (NULL), one row for all (start_apart 0), or C itself. */
INLINE void block(const int mr, int64_t K, const float *A, int64_t rows_apart, int64_t columns_apart, const float *B,
                  int64_t ldb, const float *start, int64_t start_apart, float *C, int64_t ldc) {
  v8 c[6][2];
#pragma GCC unroll 6
  for (int i = 0; i < mr; i++) {
    c[i][0] = start ? load(start + i * start_apart) : splat(0.0f);
    c[i][1] = start ? load(start + i * start_apart + 8) : splat(0.0f);
  }
  for (int64_t k = 0; k < K; k++) {
    const v8 left = load(B), right = load(B + 8);
#pragma GCC unroll 6
    for (int i = 0; i < mr; i++) {
      const v8 a = splat(A[i * rows_apart]);
      c[i][0] += a * left;
      c[i][1] += a * right;
    }
    A += columns_apart;
    B += ldb;
  }
#pragma GCC unroll 6
  for (int i = 0; i < mr; i++) {
    store(C + i * ldc, c[i][0]);
    store(C + i * ldc + 8, c[i][1]);
  }
}

/* C[M, N] = start + A[M, K] B[K, N], N a multiple of 16; column panels of B lie `panels_apart`, its rows `ldb`. */
void fusecast_product(int64_t M, int64_t N, int64_t K, Left A, const float *B, int64_t panels_apart, int64_t ldb,
                      Start start, float *C, int64_t ldc) {
  for (int64_t j = 0; j < N; j += 16, B += panels_apart) {
    const float *a = A.first, *from = start.first ? start.first + j : NULL;
    float *c = C + j;
    int64_t left = M;
    for (; left >= 6; left -= 6, a += 6 * A.rows_apart, from += 6 * start.apart, c += 6 * ldc)
      block(6, K, a, A.rows_apart, A.columns_apart, B, ldb, from, start.apart, c, ldc);
    switch (left) {
      case 5: block(5, K, a, A.rows_apart, A.columns_apart, B, ldb, from, start.apart, c, ldc); break;
      case 4: block(4, K, a, A.rows_apart, A.columns_apart, B, ldb, from, start.apart, c, ldc); break;
      case 3: block(3, K, a, A.rows_apart, A.columns_apart, B, ldb, from, start.apart, c, ldc); break;
      case 2: block(2, K, a, A.rows_apart, A.columns_apart, B, ldb, from, start.apart, c, ldc); break;
      case 1: block(1, K, a, A.rows_apart, A.columns_apart, B, ldb, from, start.apart, c, ldc); break;
      default: break;
    }
  }
}
