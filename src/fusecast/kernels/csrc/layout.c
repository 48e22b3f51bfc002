/* The fields of the structures in `arguments.h`: `kernels/bindings.py` defines its own by this table, in which fields
   stand in their order. */
#include <stddef.h>

#include "arguments.h"

typedef struct {
  const char *structure, *field, *type; /* field and type: "" for the structure as a whole */
  int64_t offset, size;
} Layout;

#define NAME_OF(x) #x
#define NAME(x) NAME_OF(x)
#define TYPE(t) t : #t
#define TYPE_OF(x)                                                                                                     \
  _Generic((x), TYPE(int32_t), TYPE(int64_t), TYPE(uint32_t), TYPE(uint64_t), TYPE(float), TYPE(double),               \
           TYPE(Dropout), TYPE(GrnParameters), TYPE(PackedMap), TYPE(PackedGate), default : "pointer")
#define SIZE {NAME(S), "", "", 0, sizeof(S)},
#define F(field) {NAME(S), #field, TYPE_OF(((S *)0)->field), offsetof(S, field), sizeof(((S *)0)->field)},

static const Layout layouts[] = {
#define S Dropout
    SIZE F(seed) F(threshold) F(scale)
#undef S
#define S GrnParameters
    SIZE F(hidden_weight) F(hidden_bias) F(gate_weight) F(gate_bias) F(gain) F(shift)
#undef S
#define S GrnArguments
    SIZE F(rows) F(d) F(out) F(repeat) F(threads) F(may_fold) F(eps) F(parameters) F(gradients) F(dropout) F(x)
    F(context) F(skip) F(y) F(saved_z) F(saved_gates) F(dy) F(dx) F(dskip)
#undef S
#define S SelectionArguments
    SIZE F(rows) F(d) F(reals) F(categories) F(entries) F(repeat) F(threads) F(may_fold) F(eps) F(variables) F(joint)
    F(variables_gradients) F(joint_gradients) F(dropout) F(values) F(present) F(codes) F(embedded) F(variable_input)
    F(joint_input) F(context) F(joint_bias) F(selected) F(weights) F(saved_z) F(saved_gates) F(dselected) F(dweights)
    F(dembedded) F(dvariable_input) F(djoint_input) F(dcontext) F(djoint_bias)
#undef S
#define S LstmArguments
    SIZE F(windows) F(steps) F(inputs) F(d) F(threads) F(from_input) F(from_state) F(bias) F(mask) F(x) F(gates)
    F(hidden) F(cell) F(output) F(doutput) F(dhidden) F(dcell) F(dgates) F(dx) F(dfrom_input) F(dfrom_state) F(dbias)
#undef S
#define S AttentionArguments
    SIZE F(windows) F(heads) F(horizon) F(steps) F(d) F(row_stride) F(threads) F(ahead) F(scale) F(dropout) F(mask)
    F(query) F(key) F(value) F(mixed) F(mean) F(dmixed) F(dmean) F(dquery) F(dkey) F(dvalue)
#undef S
#define S PackedMap
    SIZE F(weight) F(bias)
#undef S
#define S PackedGate
    SIZE F(map) F(gain) F(shift)
#undef S
#define S DecoderArguments
    SIZE F(windows) F(lookback) F(horizon) F(d) F(dp) F(heads) F(layers) F(group_size) F(threads) F(folded) F(ahead)
    F(eps) F(past_stride) F(future_stride) F(past_sums_stride) F(future_sums_stride) F(past) F(future) F(past_sums)
    F(future_sums) F(hidden) F(cell) F(context) F(mask) F(from_input) F(from_state) F(bias) F(after_recurrence)
    F(enrich) F(after_attention) F(position_wise) F(before_head) F(enrich_input) F(position_input) F(query)
    F(projection) F(key) F(decoded) F(attention)
#undef S
#define S AdamWArguments
    SIZE F(tensors) F(threads) F(rate) F(decay) F(beta1) F(beta2) F(eps) F(max_norm) F(norm) F(offsets) F(parameter)
    F(gradient) F(mean) F(square) F(steps)
#undef S
#define S GatherArguments
    SIZE F(windows) F(batch) F(series) F(stride) F(lookback) F(horizon) F(reals) F(targets) F(observed) F(categories)
    F(observed_categories) F(static_reals) F(static_categories) F(scaled) F(count_of_center) F(wrong) F(floor) F(indptr) F(offsets)
    F(cutoff) F(real) F(present) F(category) F(static_real) F(static_present) F(static_category) F(center) F(scale)
    F(position) F(number) F(to_static_real) F(to_past_real) F(to_future_real) F(to_target) F(to_center) F(to_scale)
    F(to_weight) F(to_static_cat) F(to_past_cat) F(to_future_cat) F(to_static_real_present) F(to_past_real_present)
    F(to_future_real_present) F(to_past_mask) F(to_target_mask) F(lack)
#undef S
#define S OrderArguments
    SIZE F(count) F(size) F(left) F(right) F(keys) F(rounds) F(places) F(numbers)
#undef S
};

/* Returns the table, and its length. */
const Layout *fusecast_layouts(int64_t *count) {
  *count = sizeof layouts / sizeof *layouts;
  return layouts;
}
