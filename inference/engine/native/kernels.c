/* The parts of a step between its linear layers, each in one pass over what it reads.
 *
 * Compiled once for each element type (ELEMENT_BF16 or ELEMENT_F32): tensors hold elements, all sums and the residual
 * stream are float32. Vectors are the compiler's own (GCC 12, clang), so that one source serves every processor. Sizes
 * are in elements, and every row's length is a multiple of 2 * LANES; rows lie end to end.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

#define LANES 16
#define SMALL 32768 /* elements below which a second thread costs more than it does */

typedef float vector __attribute__((vector_size(4 * LANES)));
typedef int32_t integers __attribute__((vector_size(4 * LANES)));
typedef uint32_t bits __attribute__((vector_size(4 * LANES)));
typedef struct {
    vector one, other;
} pair;

#ifdef ELEMENT_BF16
typedef uint16_t element;
typedef uint16_t halves __attribute__((vector_size(2 * LANES)));

static inline vector load(const element *from) {
    halves raw;
    memcpy(&raw, from, sizeof raw);
    return (vector)(__builtin_convertvector(raw, bits) << 16);
}

/* Rounded to nearest, ties to even, in the upper half. */
static inline bits rounded(vector value) {
    bits raw = (bits)value;
    return raw + 0x7fff + ((raw >> 16) & 1);
}

static inline void store(element *to, vector value) {
#ifdef __AVX512BF16__
    __m256bh narrow = _mm512_cvtneps_pbh((__m512)value);
    memcpy(to, &narrow, sizeof narrow);
#else
    halves narrow = __builtin_convertvector(rounded(value) >> 16, halves);
    memcpy(to, &narrow, sizeof narrow);
#endif
}

/* 32 elements as two vectors: those at even places and those at odd ones, which takes the fewest instructions. */
static inline pair load_pair(const element *from) {
    bits raw;
    memcpy(&raw, from, sizeof raw);
    return (pair){(vector)(raw << 16), (vector)(raw & 0xffff0000)};
}

static inline void store_pair(element *to, pair value) {
    bits raw = (rounded(value.one) >> 16) | (rounded(value.other) & 0xffff0000);
    memcpy(to, &raw, sizeof raw);
}
#else
typedef float element;

static inline vector load(const element *from) {
    vector value;
    memcpy(&value, from, sizeof value);
    return value;
}

static inline void store(element *to, vector value) { memcpy(to, &value, sizeof value); }

static inline pair load_pair(const element *from) { return (pair){load(from), load(from + LANES)}; }

static inline void store_pair(element *to, pair value) {
    store(to, value.one);
    store(to + LANES, value.other);
}
#endif

/* Have memory that is read soon brought nearer: it is scattered in pieces too short for the processor to foresee. */
static inline void fetch(const element *from, int64_t count) {
    for (const char *at = (const char *)from, *end = (const char *)(from + count); at < end; at += 64)
        __builtin_prefetch(at, 0, 2);
}

static inline vector kept(const float *from) {
    vector value;
    memcpy(&value, from, sizeof value);
    return value;
}

static inline void keep(float *to, vector value) { memcpy(to, &value, sizeof value); }

static inline void fold(vector values[LANES], int half) {
#pragma GCC unroll 8
    for (int at = 0; at < half; at++) {
        vector one = values[at], other = values[at + half];
        values[at] = __builtin_shufflevector(one, other, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23) +
                     __builtin_shufflevector(one, other, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    }
}

/* The sums of all lanes of each: lane i is that of values[i]. */
static inline vector totals(vector values[LANES]) {
    fold(values, 8);
    fold(values, 4);
    fold(values, 2);
    fold(values, 1);
    return values[0];
}

typedef float eight __attribute__((vector_size(32)));
typedef float four __attribute__((vector_size(16)));

static inline float total(vector value) {
    eight sums8 = __builtin_shufflevector(value, value, 0, 1, 2, 3, 4, 5, 6, 7) +
                  __builtin_shufflevector(value, value, 8, 9, 10, 11, 12, 13, 14, 15);
    four sums4 = __builtin_shufflevector(sums8, sums8, 0, 1, 2, 3) + __builtin_shufflevector(sums8, sums8, 4, 5, 6, 7);
    return (sums4[0] + sums4[1]) + (sums4[2] + sums4[3]);
}

static inline float highest_of(vector value, float highest) {
    for (int at = 0; at < LANES; at++) highest = value[at] > highest ? value[at] : highest;
    return highest;
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

/* RMSNorm (arXiv 1910.07467): out [rows, n] = x / sqrt(mean(x^2) + eps) * weight. */
void rms_norm(const element *x, const element *weight, element *out, int64_t rows, int64_t n, double eps) {
#pragma omp parallel for if (rows * n > SMALL)
    for (int64_t row = 0; row < rows; row++) {
        const element *from = x + row * n;
        vector squares = {};
        for (int64_t at = 0; at < n; at += LANES) squares += load(from + at) * load(from + at);
        float scale = 1.0f / sqrtf(total(squares) / n + (float)eps);
        for (int64_t at = 0; at < n; at += LANES)
            store(out + row * n + at, load(from + at) * scale * load(weight + at));
    }
}

/* x [rows, n] += change, then out = RMSNorm(x). */
void add_rms_norm(float *x, const element *change, const element *weight, element *out, int64_t rows, int64_t n,
                  double eps) {
#pragma omp parallel for if (rows * n > SMALL)
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

/* out [rows, n] = silu(gate) * up, of gate_up [rows, 2 n]. */
void silu_gate(const element *gate_up, element *out, int64_t rows, int64_t n) {
#pragma omp parallel for if (rows * n > SMALL / 4)
    for (int64_t row = 0; row < rows; row++)
        for (int64_t at = 0; at < n; at += LANES) {
            vector gate = load(gate_up + 2 * row * n + at), up = load(gate_up + (2 * row + 1) * n + at);
            store(out + row * n + at, gate / (1.0f + exponential(-gate)) * up);
        }
}

/* The same with GELU's tanh form (arXiv 1606.08415): (1 + tanh(z)) / 2 = 1 / (1 + e^-2z). */
void gelu_gate(const element *gate_up, element *out, int64_t rows, int64_t n) {
#pragma omp parallel for if (rows * n > SMALL / 4)
    for (int64_t row = 0; row < rows; row++)
        for (int64_t at = 0; at < n; at += LANES) {
            vector gate = load(gate_up + 2 * row * n + at), up = load(gate_up + (2 * row + 1) * n + at);
            vector z = 0.797884561f * (gate + 0.044715f * gate * gate * gate);
            store(out + row * n + at, gate / (1.0f + exponential(-2.0f * z)) * up);
        }
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
void rotate_and_write(element *qkv, const element *cosines, const element *sines, const place *places, int64_t tokens,
                      int64_t layer, int64_t heads, int64_t kv_heads, int64_t n) {
    int64_t all = heads + 2 * kv_heads;
#pragma omp parallel for if (tokens * all * n > SMALL)
    for (int64_t token = 0; token < tokens; token++) {
        place to = places[token];
        element *of_token = qkv + token * all * n, *cache = to.row + layer * to.layer_stride + to.position * n;
        for (int64_t head = 0; head < heads + kv_heads; head++)
            turn(of_token + head * n, cosines + to.position * n, sines + to.position * n, n);
        for (int64_t head = 0; head < 2 * kv_heads; head++)
            memcpy(cache + head * to.head_stride, of_token + (heads + head) * n, n * sizeof(element));
    }
}

#define BLOCK LANES
#define MOST_GROUP 16
#define MOST_HEAD 256

/* from [count, n] as floats; what is missing of a block is zero. */
static inline void widen(const element *from, float *to, int64_t count, int64_t n) {
    for (int64_t at = 0; at < count * n; at += LANES) keep(to + at, load(from + at));
    memset(to + count * n, 0, (BLOCK - count) * n * sizeof(float));
}

/* One key head of one row for the `group` query heads that share it; softmax on line (FlashAttention-2, arXiv
 * 2307.08691). */
static void attend_head(const element *queries, const element *keys, const element *values, element *out,
                        int64_t first, int64_t length, int64_t group, int64_t n, float scale) {
    float block[BLOCK * MOST_HEAD], scores[MOST_GROUP][BLOCK], asked[MOST_GROUP * MOST_HEAD];
    float answer[MOST_GROUP * MOST_HEAD], largest[MOST_GROUP], weight[MOST_GROUP];
    const integers lanes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
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
        fetch(keys + (start + BLOCK) * n, BLOCK * n);
        fetch(values + start * n, BLOCK * n);
        widen(keys + start * n, block, count, n);
        for (int64_t query = 0; query < group; query++) {
            vector sums[BLOCK] = {};
            for (int64_t at = 0; at < n; at += LANES) {
                vector part = kept(asked + query * n + at);
#pragma GCC unroll 16
                for (int key = 0; key < BLOCK; key++) sums[key] += part * kept(block + key * n + at);
            }
            vector score = choose(lanes < (int32_t)count, totals(sums), filled(-INFINITY));
            float highest = highest_of(score, largest[query]);
            float shrink = exponential(filled(largest[query] - highest))[0];
            score = choose(score == -INFINITY, filled(0), exponential(score - highest));
            keep(scores[query], score);
            largest[query] = highest;
            weight[query] = weight[query] * shrink + total(score);
            for (int64_t at = 0; at < n; at += LANES)
                keep(answer + query * n + at, kept(answer + query * n + at) * shrink);
        }
        widen(values + start * n, block, count, n);
        for (int64_t query = 0; query < group; query++)
            for (int64_t at = 0; at < n; at += LANES) {
                vector sum = kept(answer + query * n + at);
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
void attend(const element *qkv, const place *places, const int64_t *asking, element *out, int64_t count, int64_t layer,
            int64_t heads, int64_t kv_heads, int64_t n, int64_t window, double scale) {
    int64_t group = heads / kv_heads, read = 0;
    for (int64_t index = 0; index < count; index++) read += places[asking[index]].position + 1;
#pragma omp parallel for schedule(dynamic) if (read * heads * n > SMALL)
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

/* Neighbouring tokens on one adapter. */
typedef struct {
    int64_t first, count, slot;
} tile;

#define ROWS 8

/* y += B (A x) of each token's own adapter (LoRA, arXiv 2106.09685; gathered as in Punica, arXiv 2310.18547).
 *
 * x [tokens, in], y [tokens, chunks * width], a [slots, rows, in], b [slots, chunks, rank, width]; rows is a multiple of
 * ROWS. source [chunks] is the projection that each chunk of outputs is of: its low-rank values begin at source * rank
 * of the rows. low: room for [tokens, rows].
 */
void add_lora(const element *x, element *y, const element *a, const element *b, const int64_t *source,
              const tile *tiles, float *low, int64_t tile_count, int64_t in, int64_t rows, int64_t rank, int64_t chunks,
              int64_t width) {
#pragma omp parallel
    {
#pragma omp for collapse(2)
        for (int64_t index = 0; index < tile_count; index++)
            for (int64_t row = 0; row < rows; row += ROWS) {
                tile of = tiles[index];
                const element *factor = a + (of.slot * rows + row) * in;
                for (int64_t token = of.first; token < of.first + of.count; token++) {
                    vector sums[LANES] = {};
                    for (int64_t at = 0; at < in; at += 2 * LANES) {
                        pair input = load_pair(x + token * in + at);
                        fetch(factor + ROWS * (in + at), 2 * ROWS * LANES);
#pragma GCC unroll 8
                        for (int each = 0; each < ROWS; each++) {
                            pair weight = load_pair(factor + each * in + at);
                            sums[each] += input.one * weight.one;
                            sums[each] += input.other * weight.other;
                        }
                    }
                    vector sum = totals(sums);
                    memcpy(low + token * rows + row, &sum, ROWS * sizeof(float));
                }
            }
#pragma omp for collapse(2)
        for (int64_t index = 0; index < tile_count; index++)
            for (int64_t chunk = 0; chunk < chunks; chunk++) {
                tile of = tiles[index];
                const element *factor = b + (of.slot * chunks + chunk) * rank * width;
                fetch(factor + rank * width, rank * width);
                for (int64_t token = of.first; token < of.first + of.count; token++) {
                    const float *inner = low + token * rows + source[chunk] * rank;
                    element *output = y + (token * chunks + chunk) * width;
                    for (int64_t at = 0; at < width; at += 2 * LANES) {
                        pair sum = load_pair(output + at);
                        for (int64_t row = 0; row < rank; row += ROWS)
#pragma GCC unroll 8
                            for (int each = 0; each < ROWS; each++) {
                                pair weight = load_pair(factor + (row + each) * width + at);
                                sum.one += inner[row + each] * weight.one;
                                sum.other += inner[row + each] * weight.other;
                            }
                        store_pair(output + at, sum);
                    }
                }
            }
    }
}
