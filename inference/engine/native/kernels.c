/* The parts of a step between its linear layers, each in one pass over what it reads, and what follows the last one. */
#include <math.h>

#include "elements.h"
#include "team.h"
#include "lora.h"

/* A function whose name ends in _part is called by all threads of a parallel region, and each does its part. None waits
 * for the others before it returns. */

#define SMALL 32768 /* elements below which a second thread costs more than it does */

static inline float larger(float one, float other) { return one > other ? one : other; }

static inline float highest_of(vector value) {
    four parts[LANES / 4];
    memcpy(parts, &value, sizeof value);
    for (int at = 1; at < LANES / 4; at++) {
        four_integers is_larger = parts[at] > parts[0];
        parts[0] = (four)(((four_integers)parts[at] & is_larger) | ((four_integers)parts[0] & ~is_larger));
    }
    return larger(larger(parts[0][0], parts[0][1]), larger(parts[0][2], parts[0][3]));
}

/* Lane by lane: a where the mask is set, else b. */
static inline vector choose(integers mask, vector a, vector b) {
    return (vector)(((integers)a & mask) | ((integers)b & ~mask));
}

static inline vector filled(float value) { return (vector){} + value; }

/* e^x to about float32's precision; 0 where it is below the smallest normal number, since computing with others is slow.
 */
static inline vector exponential(vector exact) {
    vector x = choose(exact < -87.0f, filled(-87.0f), exact);
    x = choose(x > 88.0f, filled(88.0f), x);
    vector whole = x * 1.44269504f + 12582912.0f - 12582912.0f;
    vector rest = x - whole * 0.693145752f - whole * 1.42860677e-6f;
    vector series = rest * (1.0f / 720) + 1.0f / 120;
    series = series * rest + 1.0f / 24;
    series = series * rest + 1.0f / 6;
    series = series * rest + 0.5f;
    series = series * rest + 1.0f;
    series = series * rest + 1.0f;
    integers exponent = (__builtin_convertvector(whole, integers) + 127) << 23;
    return choose(exact < -87.0f, filled(0), series * (vector)exponent);
}

static inline void norm_row(const element *x, const element *weight, element *out, int64_t n, float eps) {
    vector squares = {};
    for (int64_t at = 0; at < n; at += LANES) squares += load(x + at) * load(x + at);
    float scale = 1.0f / sqrtf(total(squares) / n + eps);
    for (int64_t at = 0; at < n; at += LANES) store(out + at, load(x + at) * scale * load(weight + at));
}

/* RMSNorm (arXiv 1910.07467): out [rows, n] = x / sqrt(mean(x^2) + eps) * weight. */
static void rms_norm_part(const element *x, const element *weight, element *out, int64_t rows, int64_t n, double eps) {
#pragma omp for nowait
    for (int64_t row = 0; row < rows; row++) norm_row(x + row * n, weight, out + row * n, n, (float)eps);
}

void rms_norm(const element *x, const element *weight, element *out, int64_t rows, int64_t n, double eps) {
#pragma omp parallel if (rows * n > SMALL)
    rms_norm_part(x, weight, out, rows, n, eps);
}

/* The first `count` heads of each token of heads [tokens, all, n], each by itself; weight [count, n]. */
static void norm_heads_part(element *heads, const element *weight, int64_t tokens, int64_t count, int64_t all,
                            int64_t n, double eps) {
#pragma omp for nowait
    for (int64_t token = 0; token < tokens; token++)
        for (int64_t head = 0; head < count; head++) {
            element *of_head = heads + (token * all + head) * n;
            norm_row(of_head, weight + head * n, of_head, n, (float)eps);
        }
}

void norm_heads(element *heads, const element *weight, int64_t tokens, int64_t count, int64_t all, int64_t n,
                double eps) {
#pragma omp parallel if (tokens * count * n > SMALL)
    norm_heads_part(heads, weight, tokens, count, all, n, eps);
}

/* x [rows, n] += change, then out = RMSNorm(x). */
static void add_rms_norm_part(float *x, const element *change, const element *weight, element *out, int64_t rows,
                              int64_t n, double eps) {
#pragma omp for nowait
    for (int64_t row = 0; row < rows; row++) {
        float *sum = x + row * n;
        vector squares = {};
        for (int64_t at = 0; at < n; at += LANES) {
            vector value = kept(sum + at) + load(change + row * n + at);
            keep(sum + at, value);
            squares += value * value;
        }
        float scale = 1.0f / sqrtf(total(squares) / n + (float)eps);
        for (int64_t at = 0; at < n; at += LANES)
            store(out + row * n + at, kept(sum + at) * scale * load(weight + at));
    }
}

void add_rms_norm(float *x, const element *change, const element *weight, element *out, int64_t rows, int64_t n,
                  double eps) {
#pragma omp parallel if (rows * n > SMALL)
    add_rms_norm_part(x, change, weight, out, rows, n, eps);
}

/* out [rows, n] = silu(gate) * up, of gate_up [rows, 2 n]. */
static void silu_gate_part(const element *gate_up, element *out, int64_t rows, int64_t n) {
#pragma omp for nowait
    for (int64_t row = 0; row < rows; row++)
        for (int64_t at = 0; at < n; at += LANES) {
            vector gate = load(gate_up + 2 * row * n + at), up = load(gate_up + (2 * row + 1) * n + at);
            store(out + row * n + at, gate / (1.0f + exponential(-gate)) * up);
        }
}

void silu_gate(const element *gate_up, element *out, int64_t rows, int64_t n) {
#pragma omp parallel if (rows * n > SMALL / 4)
    silu_gate_part(gate_up, out, rows, n);
}

/* The same with GELU's tanh form (arXiv 1606.08415): (1 + tanh(z)) / 2 = 1 / (1 + e^-2z). */
static void gelu_gate_part(const element *gate_up, element *out, int64_t rows, int64_t n) {
#pragma omp for nowait
    for (int64_t row = 0; row < rows; row++)
        for (int64_t at = 0; at < n; at += LANES) {
            vector gate = load(gate_up + 2 * row * n + at), up = load(gate_up + (2 * row + 1) * n + at);
            vector z = 0.797884561f * (gate + 0.044715f * gate * gate * gate);
            store(out + row * n + at, gate / (1.0f + exponential(-2.0f * z)) * up);
        }
}

void gelu_gate(const element *gate_up, element *out, int64_t rows, int64_t n) {
#pragma omp parallel if (rows * n > SMALL / 4)
    gelu_gate_part(gate_up, out, rows, n);
}

/* Where a token's keys and values go. Strides in elements. */
typedef struct {
    element *row;
    int64_t layer_stride, head_stride, position;
} place;

/* Turn a head in place: x cos + (second half, first half) sin, the sines carrying the sign (arXiv 2104.09864). */
static inline void turn(element *head, const element *cosines, const element *sines, int64_t n) {
    int64_t half = n / 2;
    for (int64_t at = 0; at < half; at += LANES) {
        vector first = load(head + at), second = load(head + half + at);
        store(head + at, first * load(cosines + at) + second * load(sines + at));
        store(head + half + at, second * load(cosines + half + at) + first * load(sines + half + at));
    }
}

/* Turn the queries and keys of heads [tokens, heads + 2 kv_heads, n], and write keys and values to their places. */
static void rotate_and_write_part(element *qkv, const element *cosines, const element *sines, const place *places,
                                  int64_t tokens, int64_t layer, int64_t heads, int64_t kv_heads, int64_t n) {
    int64_t all = heads + 2 * kv_heads;
#pragma omp for nowait
    for (int64_t token = 0; token < tokens; token++) {
        place to = places[token];
        element *of_token = qkv + token * all * n, *cache = to.row + layer * to.layer_stride + to.position * n;
        for (int64_t head = 0; head < heads + kv_heads; head++)
            turn(of_token + head * n, cosines + to.position * n, sines + to.position * n, n);
        for (int64_t head = 0; head < 2 * kv_heads; head++)
            memcpy(cache + head * to.head_stride, of_token + (heads + head) * n, n * sizeof(element));
    }
}

void rotate_and_write(element *qkv, const element *cosines, const element *sines, const place *places, int64_t tokens,
                      int64_t layer, int64_t heads, int64_t kv_heads, int64_t n) {
#pragma omp parallel if (tokens * (heads + 2 * kv_heads) * n > SMALL)
    rotate_and_write_part(qkv, cosines, sines, places, tokens, layer, heads, kv_heads, n);
}

#define BLOCK LANES
#define MOST_GROUP 16
#define MOST_HEAD 256

/* from [count, n] as floats, where they lie or in `room`; what is missing of a block is zero. */
static inline const float *widened(const element *from, float *room, int64_t count, int64_t n) {
#ifdef ELEMENT_F32
    if (count == BLOCK) return from;
#endif
    for (int64_t at = 0; at < count * n; at += LANES) keep(room + at, load(from + at));
    memset(room + count * n, 0, (BLOCK - count) * n * sizeof(float));
    return room;
}

/* One key head of one row for the `group` query heads that share it; softmax on line (FlashAttention-2, arXiv
 * 2307.08691). */
static void attend_head(const element *queries, const element *keys, const element *values, element *out,
                        int64_t first, int64_t length, int64_t group, int64_t n, float scale) {
    float room[BLOCK * MOST_HEAD], scores[MOST_GROUP][BLOCK], asked[MOST_GROUP * MOST_HEAD];
    float answer[MOST_GROUP * MOST_HEAD], largest[MOST_GROUP], weight[MOST_GROUP];
    integers lanes;
    for (int lane = 0; lane < LANES; lane++) lanes[lane] = lane;
    for (int64_t query = 0; query < group; query++) {
        largest[query] = -INFINITY;
        weight[query] = 0;
    }
    for (int64_t at = 0; at < group * n; at += LANES) {
        keep(asked + at, load(queries + at) * scale);
        keep(answer + at, filled(0));
    }
    for (int64_t start = first; start < length; start += BLOCK) {
        int64_t count = length - start < BLOCK ? length - start : BLOCK;
        const element *next_keys = keys + (start + BLOCK) * n, *next_values = values + (start + BLOCK) * n;
        const float *block = widened(keys + start * n, room, count, n);
        for (int64_t query = 0; query < group; query++) {
            vector sums[BLOCK] = {};
            for (int64_t at = 0; at < n; at += LANES) {
                vector part = kept(asked + query * n + at);
                if (!query) fetch(next_keys + at * BLOCK, BLOCK * LANES);
#pragma GCC unroll 16
                for (int key = 0; key < BLOCK; key++) sums[key] += part * kept(block + key * n + at);
            }
            vector score = choose(lanes < (int32_t)count, totals(sums), filled(-INFINITY));
            float highest = larger(highest_of(score), largest[query]);
            float shrink = exponential(filled(largest[query] - highest))[0];
            score = choose(score == -INFINITY, filled(0), exponential(score - highest));
            keep(scores[query], score);
            largest[query] = highest;
            weight[query] = weight[query] * shrink + total(score);
            for (int64_t at = 0; at < n; at += LANES)
                keep(answer + query * n + at, kept(answer + query * n + at) * shrink);
        }
        block = widened(values + start * n, room, count, n);
        for (int64_t query = 0; query < group; query++)
            for (int64_t at = 0; at < n; at += LANES) {
                vector sum = kept(answer + query * n + at);
                if (!query) fetch(next_values + at * BLOCK, BLOCK * LANES);
#pragma GCC unroll 16
                for (int key = 0; key < BLOCK; key++) sum += scores[query][key] * kept(block + key * n + at);
                keep(answer + query * n + at, sum);
            }
    }
    for (int64_t query = 0; query < group; query++)
        for (int64_t at = 0; at < n; at += LANES)
            store(out + query * n + at, kept(answer + query * n + at) / weight[query]);
}

/* Attention of tokens that are each the last of their row: out [.., heads * n] at the tokens of `asking`.
 * window: how many positions a token sees, itself included. */
static void attend_part(const element *qkv, const place *places, const int64_t *asking, element *out, int64_t count,
                        int64_t layer, int64_t heads, int64_t kv_heads, int64_t n, int64_t window, double scale) {
    int64_t group = heads / kv_heads;
#pragma omp for schedule(dynamic) nowait
    for (int64_t item = 0; item < count * kv_heads; item++) {
        int64_t token = asking[item / kv_heads], head = item % kv_heads;
        place at = places[token];
        const element *keys = at.row + layer * at.layer_stride + head * at.head_stride;
        const element *queries = qkv + (token * (heads + 2 * kv_heads) + head * group) * n;
        int64_t length = at.position + 1, first = length > window ? length - window : 0;
        attend_head(queries, keys, keys + kv_heads * at.head_stride, out + (token * heads + head * group) * n, first,
                    length, group, n, (float)scale);
    }
}

void attend(const element *qkv, const place *places, const int64_t *asking, element *out, int64_t count, int64_t layer,
            int64_t heads, int64_t kv_heads, int64_t n, int64_t window, double scale) {
    int64_t read = 0;
    for (int64_t index = 0; index < count; index++) read += places[asking[index]].position + 1;
#pragma omp parallel if (read * heads * n > SMALL)
    attend_part(qkv, places, asking, out, count, layer, heads, kv_heads, n, window, scale);
}

/* y += B (A x) of each token's own adapter. */
void add_lora(const element *x, element *y, int64_t layer, const lora *of) {
    team together = {0};
#pragma omp parallel
    add_lora_part(x, y, layer, of, &together);
}

#include "chunks.h"
#include "choice.h"
#include "layers.h"
