/* Attention of pieces of prompts, by products of matrices on tile registers (Intel AMX). */

/* Neighbouring tokens of one row, each of which sees itself and what is before it. */
typedef struct {
    int64_t first, count;
} chunk;

#if defined(ELEMENT_BF16) && defined(__AMX_BF16__)
#include "tiles.h"

#define EDGE 16                /* rows of a tile, and its columns of float32 */
#define TILE (2 * EDGE * EDGE) /* its elements */
#define KEYS (2 * EDGE)        /* that are attended to at a time */
#define MOST_QUERIES 96        /* that keys are packed for */

/* Queries [block, EDGE, n] of tokens on one key head; of each the end of what it sees and where that begins, the highest
 * score so far, and lane by lane what the others weigh beside it. answer: [block, n / EDGE] tiles. */
typedef struct {
    element queries[MOST_QUERIES * MOST_HEAD] __attribute__((aligned(64)));
    float answer[MOST_QUERIES * MOST_HEAD] __attribute__((aligned(64)));
    vector weights[MOST_QUERIES];
    float highest[MOST_QUERIES];
    int32_t begins[MOST_QUERIES], ends[MOST_QUERIES];
} asking;

/* Keys and values as right sides of products: keys [KEYS / EDGE, n / KEYS] tiles of pairs of a head's numbers by keys,
 * values [n / EDGE] tiles of pairs of keys by numbers. */
typedef struct {
    element keys[KEYS * MOST_HEAD] __attribute__((aligned(64)));
    element values[KEYS * MOST_HEAD] __attribute__((aligned(64)));
} seen;

/* Each round makes the highest bit of a number's row the lowest of its column, and the other way round. */
static inline void transpose(integers rows[EDGE]) {
    for (int round = 0; round < 4; round++) {
        integers next[EDGE];
#pragma GCC unroll 8
        for (int row = 0; row < EDGE / 2; row++) {
            next[2 * row] = __builtin_shufflevector(rows[row], rows[row + EDGE / 2], LOWER_IN_TURN);
            next[2 * row + 1] = __builtin_shufflevector(rows[row], rows[row + EDGE / 2], UPPER_IN_TURN);
        }
        memcpy(rows, next, sizeof next);
    }
}

static inline bits numbers_of(const element *row, int is_there) {
    halves raw = {};
    if (is_there) memcpy(&raw, row, sizeof raw);
    return __builtin_convertvector(raw, bits);
}

/* Pack the first `count` of KEYS keys and values [.., n]; the others are zero. */
static void pack_seen(const element *keys, const element *values, int64_t count, int64_t n, seen *to) {
    element *tile = to->keys;
    for (int64_t first = 0; first < KEYS; first += EDGE)
        for (int64_t at = 0; at < n; at += KEYS, tile += TILE) {
            integers rows[EDGE] = {};
            for (int64_t key = 0; key < EDGE && first + key < count; key++)
                memcpy(rows + key, keys + (first + key) * n + at, sizeof *rows);
            transpose(rows);
            memcpy(tile, rows, sizeof rows);
        }
    tile = to->values;
    for (int64_t at = 0; at < n; at += EDGE, tile += TILE)
        for (int64_t key = 0; key < KEYS; key += 2) {
            bits both = numbers_of(values + key * n + at, key < count) |
                        numbers_of(values + (key + 1) * n + at, key + 1 < count) << 16;
            memcpy(tile + key * EDGE, &both, sizeof both);
        }
}

/* What a block of queries makes of KEYS keys, the first of which is at a position; softmax on line as in `attend_head`. */
static void attend_block(asking *by, int64_t block, const seen *to, int64_t position, int64_t n, float scale) {
    float scores[2 * EDGE * EDGE] __attribute__((aligned(64))), *answer = by->answer + block * EDGE * n;
    element shares[TILE] __attribute__((aligned(64)));
    integers places;
    for (int lane = 0; lane < LANES; lane++) places[lane] = (int32_t)position + lane;
    _tile_zero(0);
    _tile_zero(1);
    for (int64_t step = 0; step < n / KEYS; step++) {
        _tile_loadd(2, by->queries + block * EDGE * n + step * KEYS, n * sizeof(element));
        _tile_loadd(3, to->keys + step * TILE, 64);
        _tile_loadd(4, to->keys + (n / KEYS + step) * TILE, 64);
        _tile_dpbf16ps(0, 2, 3);
        _tile_dpbf16ps(1, 2, 4);
    }
    _tile_stored(0, scores, 64);
    _tile_stored(1, scores + EDGE * EDGE, 64);
    for (int64_t row = 0; row < EDGE; row++) {
        int64_t query = block * EDGE + row;
        int32_t begin = by->begins[query], end = by->ends[query];
        integers sees = (places >= begin) & (places < end), sees_next = (places + EDGE >= begin) & (places + EDGE < end);
        vector one = choose(sees, kept(scores + row * EDGE) * scale, filled(-INFINITY));
        vector other = choose(sees_next, kept(scores + (EDGE + row) * EDGE) * scale, filled(-INFINITY));
        float before = by->highest[query], highest = larger(highest_of(choose(one > other, one, other)), before);
        if (highest == -INFINITY) {
            memset(shares + row * KEYS, 0, KEYS * sizeof(element));
            continue;
        }
        one = exponential(one - highest);
        other = exponential(other - highest);
        if (highest > before) {
            float shrink = exponential(filled(before - highest))[0];
            by->weights[query] *= shrink;
            for (int64_t at = 0; at < n; at += EDGE) {
                float *of_row = answer + at * EDGE + row * EDGE;
                keep(of_row, kept(of_row) * shrink);
            }
            by->highest[query] = highest;
        }
        by->weights[query] += one + other;
        __m512bh both = _mm512_cvtne2ps_pbh((__m512)other, (__m512)one);
        memcpy(shares + row * KEYS, &both, sizeof both);
    }
    _tile_loadd(2, shares, 64);
    for (int64_t at = 0; at < n; at += EDGE) {
        _tile_loadd(0, answer + at * EDGE, 64);
        _tile_loadd(3, to->values + at / EDGE * TILE, 64);
        _tile_dpbf16ps(0, 2, 3);
        _tile_stored(0, answer + at * EDGE, 64);
    }
}

/* Neighbouring tokens of a row on one key head, not more than MOST_QUERIES queries. */
static void attend_tokens(const element *qkv, const place *places, chunk tokens, element *out, int64_t layer,
                          int64_t head, int64_t heads, int64_t kv_heads, int64_t n, int64_t window, float scale) {
    int64_t group = heads / kv_heads, queries = tokens.count * group, blocks = (queries + EDGE - 1) / EDGE;
    place of = places[tokens.first];
    const element *keys = of.row + layer * of.layer_stride + head * of.head_stride;
    const element *values = keys + kv_heads * of.head_stride;
    asking by;
    seen to;
    memset(by.queries + queries * n, 0, (blocks * EDGE - queries) * n * sizeof(element));
    memset(by.answer, 0, blocks * EDGE * n * sizeof(float));
    for (int64_t query = 0; query < blocks * EDGE; query++) {
        by.weights[query] = filled(0);
        by.highest[query] = -INFINITY;
        by.begins[query] = by.ends[query] = 0;
        if (query >= queries) continue;
        int64_t token = tokens.first + query / group, end = places[token].position + 1;
        memcpy(by.queries + query * n, qkv + (token * (heads + 2 * kv_heads) + head * group + query % group) * n,
               n * sizeof(element));
        by.begins[query] = (int32_t)(end > window ? end - window : 0);
        by.ends[query] = (int32_t)end;
    }
    int64_t stop = by.ends[queries - 1];
    for (int64_t position = by.begins[0]; position < stop; position += KEYS) {
        pack_seen(keys + position * n, values + position * n, stop - position, n, &to);
        for (int64_t block = 0; block < blocks; block++) attend_block(&by, block, &to, position, n, scale);
    }
    for (int64_t query = 0; query < queries; query++) {
        int64_t token = tokens.first + query / group, block = query / EDGE, row = query % EDGE;
        element *answer = out + (token * heads + head * group + query % group) * n;
        for (int64_t at = 0; at < n; at += EDGE)
            store(answer + at, kept(by.answer + block * EDGE * n + (at + row) * EDGE) / total(by.weights[query]));
    }
}

/* Out [.., heads * n] at the tokens of all chunks. Needs the kernel's permission (tile_products.c). */
static void attend_chunks_part(const element *qkv, const place *places, const chunk *chunks, element *out,
                               int64_t count, int64_t layer, int64_t heads, int64_t kv_heads, int64_t n,
                               int64_t window, double scale) {
    int64_t at_once = MOST_QUERIES / (heads / kv_heads);
    configure(EDGE, EDGE);
    for (int64_t index = 0; index < count; index++) {
        chunk of = chunks[index];
        int64_t pieces = (of.count + at_once - 1) / at_once;
#pragma omp for schedule(dynamic) nowait
        for (int64_t item = 0; item < pieces * kv_heads; item++) {
            int64_t first = item / kv_heads * at_once, left = of.count - first;
            chunk tokens = {of.first + first, left < at_once ? left : at_once};
            attend_tokens(qkv, places, tokens, out, layer, item % kv_heads, heads, kv_heads, n, window, (float)scale);
        }
    }
    _tile_release();
}
#else
/* Never called: torch attends to chunks here. */
static void attend_chunks_part(const element *qkv, const place *places, const chunk *chunks, element *out,
                               int64_t count, int64_t layer, int64_t heads, int64_t kv_heads, int64_t n,
                               int64_t window, double scale) {
    (void)qkv, (void)places, (void)chunks, (void)out, (void)count, (void)layer, (void)heads, (void)kv_heads, (void)n;
    (void)window, (void)scale;
}
#endif

void attend_chunks(const element *qkv, const place *places, const chunk *chunks, element *out, int64_t count,
                   int64_t layer, int64_t heads, int64_t kv_heads, int64_t n, int64_t window, double scale) {
#pragma omp parallel
    attend_chunks_part(qkv, places, chunks, out, count, layer, heads, kv_heads, n, window, scale);
}
