#include "matmul.h"

/* C[mr, 16] = initial + A[mr, K] B[K, 16]; element (i, k) of A is at A[i * row_stride + k * column_stride]. The
   initial value is 0 (NULL), one row for all (initial_stride 0), or C itself. */
INLINE void block(const int mr, int64_t K, const float *A, int64_t row_stride, int64_t column_stride, const float *B,
                  int64_t ldb, const float *initial, int64_t initial_stride, float *C, int64_t ldc) {
  v8 c[6][2];
#pragma GCC unroll 6
  for (int i = 0; i < mr; i++) {
    c[i][0] = initial ? load(initial + i * initial_stride) : splat(0.0f);
    c[i][1] = initial ? load(initial + i * initial_stride + 8) : splat(0.0f);
  }
  for (int64_t k = 0; k < K; k++) {
    const v8 left = load(B), right = load(B + 8);
#pragma GCC unroll 6
    for (int i = 0; i < mr; i++) {
      const v8 a = splat(A[i * row_stride]);
      c[i][0] += a * left;
      c[i][1] += a * right;
    }
    A += column_stride;
    B += ldb;
  }
#pragma GCC unroll 6
  for (int i = 0; i < mr; i++) {
    store(C + i * ldc, c[i][0]);
    store(C + i * ldc + 8, c[i][1]);
  }
}

/* C[M, N] = initial + A[M, K] B[K, N], N a multiple of 16; column panels of B are `panel_stride` apart. */
void fusecast_product(int64_t M, int64_t N, int64_t K, LeftMatrix A, const float *B, int64_t panel_stride, int64_t ldb,
                      InitialValue initial, float *C, int64_t ldc) {
  for (int64_t j = 0; j < N; j += 16, B += panel_stride) {
    const float *a = A.first, *initial_row = initial.first ? initial.first + j : NULL;
    float *c = C + j;
    int64_t rows_left = M;
    for (; rows_left >= 6; rows_left -= 6, a += 6 * A.row_stride, initial_row += 6 * initial.row_stride, c += 6 * ldc)
      block(6, K, a, A.row_stride, A.column_stride, B, ldb, initial_row, initial.row_stride, c, ldc);
    switch (rows_left) {
      case 5: block(5, K, a, A.row_stride, A.column_stride, B, ldb, initial_row, initial.row_stride, c, ldc); break;
      case 4: block(4, K, a, A.row_stride, A.column_stride, B, ldb, initial_row, initial.row_stride, c, ldc); break;
      case 3: block(3, K, a, A.row_stride, A.column_stride, B, ldb, initial_row, initial.row_stride, c, ldc); break;
      case 2: block(2, K, a, A.row_stride, A.column_stride, B, ldb, initial_row, initial.row_stride, c, ldc); break;
      case 1: block(1, K, a, A.row_stride, A.column_stride, B, ldb, initial_row, initial.row_stride, c, ldc); break;
      default: break;
    }
  }
}
