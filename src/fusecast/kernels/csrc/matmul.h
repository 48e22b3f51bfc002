/* Products of small matrices that lie in cache: blocks of 6 x 16 results are held in registers. */
#pragma once
#include "simd.h"

typedef struct {
  const float *first;
  int64_t row_stride, column_stride;
} LeftMatrix;

typedef struct {
  const float *first;
  int64_t row_stride; /* 0: the same row for all */
} InitialValue;

/* C[M, N] = initial + A[M, K] B[K, N], N a multiple of 16; column panels of B are `panel_stride` apart. */
void fusecast_product(int64_t M, int64_t N, int64_t K, LeftMatrix A, const float *B, int64_t panel_stride, int64_t ldb,
                      InitialValue initial, float *C, int64_t ldc);

/* C[M, N] = bias + A[M, K] P, where P was packed by one of the two below; bias: NULL for 0. */
INLINE void times_packed(int64_t M, int64_t N, int64_t K, const float *A, int64_t lda, const float *packed,
                         const float *bias, float *C, int64_t ldc) {
  fusecast_product(M, N, K, (LeftMatrix){A, lda, 1}, packed, 16 * K, 16, (InitialValue){bias, 0}, C, ldc);
}

/* C[M, N] += A[R, M]' B[R, N]: the gradient of a weight. */
INLINE void add_outer(int64_t M, int64_t N, int64_t R, const float *A, int64_t lda, const float *B, int64_t ldb,
                      float *C, int64_t ldc) {
  fusecast_product(M, N, R, (LeftMatrix){A, 1, lda}, B, 16, ldb, (InitialValue){C, ldc}, C, ldc);
}

/* Pack the transpose of W[out, in] as [padded(out) / 16][K][16], the padding stays as it is; K >= in. */
INLINE void pack_transposed(const float *W, int64_t out, int64_t in, int64_t K, float *packed) {
  for (int64_t o = 0; o < out; o++)
    for (int64_t k = 0; k < in; k++) packed[(o / 16 * K + k) * 16 + o % 16] = W[o * in + k];
}

/* Pack W[out, in] itself as [padded(in) / 16][K][16]; K >= out. */
INLINE void pack(const float *W, int64_t out, int64_t in, int64_t K, float *packed) {
  for (int64_t o = 0; o < out; o++)
    for (int64_t k = 0; k < in; k++) packed[(k / 16 * K + o) * 16 + k % 16] = W[o * in + k];
}
