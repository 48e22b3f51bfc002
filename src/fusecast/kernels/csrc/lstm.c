/* One layer of an LSTM: each thread runs its windows through all steps, so that threads synchronise once, not at each
   step. Masked steps are skipped: the state stays, the output is 0. */
#include <omp.h>

#include "arguments.h"
#include "matmul.h"

typedef struct { /* packed weights (in the forward pass both side by side in `input`), and padded widths */
  int64_t dp, ip, wide;
  float *input, *state, *bias;
} Packed;

INLINE int masked(const LstmArguments *a, int64_t window, int64_t step) {
  return a->mask && !a->mask[window * a->steps + step];
}

/* One cell forward: from the gates' inputs `sums` [4 d] to gates [4 d], cell and hidden state. */
static void cell_forward(int64_t d, const float *sums, float *gates, const float *before, float *cell, float *hidden) {
  int64_t c = 0;
  for (; c + 8 <= d; c += 8) {
    v8 in = sigmoid(load(sums + c)), keep = sigmoid(load(sums + d + c)), out = sigmoid(load(sums + 3 * d + c));
    v8 new = hyperbolic_tangent(load(sums + 2 * d + c)), state = keep * load(before + c) + in * new;
    store(gates + c, in), store(gates + d + c, keep), store(gates + 2 * d + c, new), store(gates + 3 * d + c, out);
    store(cell + c, state), store(hidden + c, out * hyperbolic_tangent(state));
  }
  for (; c < d; c++) {
    for (int i = 0; i < 4; i++) gates[i * d + c] = (i == 2 ? hyperbolic_tangent : sigmoid)(splat(sums[i * d + c]))[0];
    cell[c] = gates[d + c] * before[c] + gates[c] * gates[2 * d + c];
    hidden[c] = gates[3 * d + c] * hyperbolic_tangent(splat(cell[c]))[0];
  }
}

/* One cell backward: dh and dc are of this step's state; on return dc is of the state before. */
static void cell_backward(int64_t d, const float *gates, const float *before, const float *cell, const float *dh,
                          float *dc, float *dgates) {
  const v8 one = splat(1.0f);
  int64_t c = 0;
  for (; c + 8 <= d; c += 8) {
    const v8 in = load(gates + c), keep = load(gates + d + c), new = load(gates + 2 * d + c);
    const v8 out = load(gates + 3 * d + c), state = hyperbolic_tangent(load(cell + c)), d_out = load(dh + c);
    const v8 dcell = load(dc + c) + d_out * out * (one - state * state);
    store(dgates + c, dcell * new * in * (one - in));
    store(dgates + d + c, dcell * load(before + c) * keep * (one - keep));
    store(dgates + 2 * d + c, dcell * in * (one - new * new));
    store(dgates + 3 * d + c, d_out * state * out * (one - out));
    store(dc + c, dcell * keep);
  }
  for (; c < d; c++) {
    const float in = gates[c], keep = gates[d + c], new = gates[2 * d + c], out = gates[3 * d + c];
    const float state = hyperbolic_tangent(splat(cell[c]))[0], dcell = dc[c] + dh[c] * out * (1.0f - state * state);
    dgates[c] = dcell * new * in * (1.0f - in);
    dgates[d + c] = dcell * before[c] * keep * (1.0f - keep);
    dgates[2 * d + c] = dcell * in * (1.0f - new * new);
    dgates[3 * d + c] = dh[c] * state * out * (1.0f - out);
    dc[c] = dcell * keep;
  }
}

/* Windows [begin, end) forward. `work` holds, for each window, I + d numbers (inputs and state side by side)
   and `wide` more; and 4 d. */
static void forward(const LstmArguments *a, const Packed *p, float *work, int64_t begin, int64_t end) {
  const int64_t d = a->d, I = a->inputs, S = a->steps, n = end - begin, both = I + d;
  float *sums = work + n * both, *gates_buffer = sums + n * p->wide;
  for (int64_t w = 0; w < n; w++) memcpy(work + w * both + I, a->hidden + (begin + w) * (S + 1) * d, d * sizeof(float));
  for (int64_t s = 0; s < S; s++) {
    for (int64_t w = 0; w < n; w++) memcpy(work + w * both, a->x + ((begin + w) * S + s) * I, I * sizeof(float));
    times_packed(n, p->wide, both, work, both, p->input, p->bias, sums, p->wide);
    for (int64_t w = begin; w < end; w++) {
      float *state = work + (w - begin) * both + I, *cell = a->cell + (w * (S + 1) + s) * d;
      float *hidden = a->hidden + (w * (S + 1) + s + 1) * d, *output = a->output ? a->output + (w * S + s) * d : NULL;
      float *gates = a->gates ? a->gates + (w * S + s) * 4 * d : gates_buffer;
      if (masked(a, w, s)) {
        memcpy(cell + d, cell, d * sizeof(float));
        memcpy(hidden, state, d * sizeof(float));
        memset(gates, 0, 4 * d * sizeof(float));
        memset(output, 0, d * sizeof(float));
        continue;
      }
      cell_forward(d, sums + (w - begin) * p->wide, gates, cell, cell + d, hidden);
      memcpy(state, hidden, d * sizeof(float));
      if (output) memcpy(output, hidden, d * sizeof(float));
    }
  }
}

/* Backpropagate through time for windows [begin, end). `work` holds 2 dp + 4 d numbers a window. */
static void back_through_time(const LstmArguments *a, const Packed *p, float *work, int64_t begin, int64_t end) {
  const int64_t d = a->d, S = a->steps, dp = p->dp, n = end - begin;
  float *dh = work, *dstate = dh + n * dp, *dgates_now = dstate + n * dp;
  for (int64_t w = 0; w < n; w++) memcpy(dh + w * dp, a->dhidden + (begin + w) * d, d * sizeof(float));
  for (int64_t s = S - 1; s >= 0; s--) {
    for (int64_t w = begin; w < end; w++) {
      const int64_t step = w * S + s;
      const float *cell = a->cell + (w * (S + 1) + s) * d;
      float *dhidden = dh + (w - begin) * dp, *dgates = dgates_now + (w - begin) * 4 * d;
      if (masked(a, w, s)) {
        memset(dgates, 0, 4 * d * sizeof(float));
      } else {
        add_to(dhidden, a->doutput + step * d, d);
        cell_backward(d, a->gates + step * 4 * d, cell, cell + d, dhidden, a->dcell + w * d, dgates);
      }
      memcpy(a->dgates + step * 4 * d, dgates, 4 * d * sizeof(float));
    }
    times_packed(n, dp, 4 * d, dgates_now, 4 * d, p->state, NULL, dstate, dp);
    for (int64_t w = begin; w < end; w++)
      if (!masked(a, w, s)) memcpy(dh + (w - begin) * dp, dstate + (w - begin) * dp, d * sizeof(float));
  }
  for (int64_t w = 0; w < n; w++) memcpy(a->dhidden + (begin + w) * d, dh + w * dp, d * sizeof(float));
}

/* sum[4 d, padded(width)] += the outer products of one window with its rows [steps, width], padded in `buffer`. */
static void add_weight(const LstmArguments *a, int64_t window, const float *rows, int64_t width, float *buffer,
                       float *sum) {
  const int64_t wp = padded(width), S = a->steps;
  if (wp != width) {
    for (int64_t s = 0; s < S; s++) memcpy(buffer + s * wp, rows + s * width, width * sizeof(float));
    rows = buffer;
  }
  add_outer(4 * a->d, wp, S, a->dgates + window * S * 4 * a->d, 4 * a->d, rows, wp, sum, wp);
}

/* For windows [begin, end): gradients of the inputs, and sums for the weights. `buffer`: [steps, ip or dp], zeroed. */
static void gradients(const LstmArguments *a, const Packed *p, float *buffer, float *sums, int64_t begin, int64_t end) {
  const int64_t d = a->d, S = a->steps, I = a->inputs;
  float *of_input = sums, *of_state = of_input + 4 * d * p->ip, *of_bias = of_state + 4 * d * p->dp;
  for (int64_t w = begin; w < end; w++) {
    const float *dgates = a->dgates + w * S * 4 * d;
    add_weight(a, w, a->hidden + w * (S + 1) * d, d, buffer, of_state);
    add_weight(a, w, a->x + w * S * I, I, buffer, of_input);
    for (int64_t s = 0; s < S; s++) add_to(of_bias, dgates + s * 4 * d, 4 * d);
    times_packed(S, p->ip, 4 * d, dgates, 4 * d, p->input, NULL, buffer, p->ip);
    for (int64_t s = 0; s < S; s++) memcpy(a->dx + (w * S + s) * I, buffer + s * p->ip, I * sizeof(float));
  }
}

/* Returns 0, or 1 when there was no memory. */
static int run(LstmArguments *a, int is_backward) {
  const int64_t d = a->d, I = a->inputs;
  Packed p = {.dp = padded(d), .ip = padded(I), .wide = padded(4 * d)};
  const int threads = a->threads < a->windows ? a->threads : (int)(a->windows ? a->windows : 1);
  const int64_t most_windows = (a->windows + threads - 1) / threads, widest = p.ip > p.dp ? p.ip : p.dp;
  const int64_t work = is_backward ? most_windows * (2 * p.dp + 4 * d) : most_windows * (I + d + p.wide) + 4 * d;
  const int64_t buffer = is_backward ? a->steps * widest : 0, size = is_backward ? 4 * d * (p.ip + p.dp + 1) : 0;
  const int64_t size_of_thread = (work + buffer + size + 15) / 16 * 16;
  float *memory = floats(threads * size_of_thread);
  p.input = floats(is_backward ? p.ip * 4 * d : p.wide * (I + d));
  p.state = floats(is_backward ? p.dp * 4 * d : 0);
  p.bias = floats(p.wide);
  const int failed = !memory || !p.input || !p.state || !p.bias;
  if (!failed) {
    if (is_backward) {
      pack(a->from_input, 4 * d, I, 4 * d, p.input);
      pack(a->from_state, 4 * d, d, 4 * d, p.state);
    } else {
      pack_transposed(a->from_input, 4 * d, I, I + d, p.input);
      pack_transposed(a->from_state, 4 * d, d, I + d, p.input + I * 16);
      memcpy(p.bias, a->bias, 4 * d * sizeof(float));
    }
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
      const int thread = omp_get_thread_num();
      const int64_t begin = a->windows * thread / threads, end = a->windows * (thread + 1) / threads;
      float *memory_of_thread = memory + thread * size_of_thread;
      if (is_backward) {
        back_through_time(a, &p, memory_of_thread, begin, end);
        gradients(a, &p, memory_of_thread + work, memory_of_thread + work + buffer, begin, end);
      } else {
        forward(a, &p, memory_of_thread, begin, end);
      }
    }
    for (int i = 0; i < threads && is_backward; i++) {
      const float *sums = memory + i * size_of_thread + work + buffer;
      for (int64_t o = 0; o < 4 * d; o++, sums += p.ip) add_to(a->dfrom_input + o * I, sums, I);
      for (int64_t o = 0; o < 4 * d; o++, sums += p.dp) add_to(a->dfrom_state + o * d, sums, d);
      add_to(a->dbias, sums, 4 * d);
    }
  }
  free(memory), free(p.input), free(p.state), free(p.bias);
  return failed;
}

int fusecast_lstm_forward(LstmArguments *a) { return run(a, 0); }
int fusecast_lstm_backward(LstmArguments *a) { return run(a, 1); }
