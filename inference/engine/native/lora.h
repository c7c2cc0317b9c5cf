/* Low-rank products of each token's own adapter (LoRA, arXiv 2106.09685; gathered as in Punica, arXiv 2310.18547). */
#define ROWS 8 /* that are multiplied at a time; a rank is a multiple of it */

#define MOST_TOKENS 64 /* of a tile */

/* Neighbouring tokens on one adapter. */
typedef struct {
    int64_t first, count, slot;
} tile;

/* The adapters of a step, and their factors of one group: a [layers, .., slots, rows, in] and b [layers, .., slots,
 * chunks, rank, width], layers being a_layer and b_layer elements apart. source [chunks] is the projection that each
 * chunk of outputs is of: its low-rank values begin at source * rank of the rows. low: room for [tokens, rows]. */
typedef struct {
    const element *a, *b;
    int64_t a_layer, b_layer;
    const int64_t *source;
    const tile *tiles;
    float *low;
    int64_t count, in, rows, rank, chunks, width;
} lora;

/* A is read in pieces of ROWS rows, B in chunks, both in the order of the tiles. */
static inline const element *piece_of_a(const lora *of, int64_t layer, int64_t index) {
    int64_t pieces = of->rows / ROWS;
    return of->a + layer * of->a_layer + (of->tiles[index / pieces].slot * of->rows + index % pieces * ROWS) * of->in;
}

static inline const element *piece_of_b(const lora *of, int64_t layer, int64_t index) {
    int64_t slot = of->tiles[index / of->chunks].slot;
    return of->b + layer * of->b_layer + (slot * of->chunks + index % of->chunks) * of->rank * of->width;
}

/* y [tokens, chunks * width] += B (A x), x [tokens, in]; a thread's part. What each does with y before is done once all
 * have made their part of A x. */
static inline void add_lora_part(const element *x, element *y, int64_t layer, const lora *of, team *together) {
    int64_t in = of->in, width = of->width, rank = of->rank, pieces = of->rows / ROWS;
#pragma omp for nowait
    for (int64_t index = 0; index < of->count * pieces; index++) {
        tile tokens = of->tiles[index / pieces];
        const element *factor = piece_of_a(of, layer, index);
        for (int64_t token = tokens.first; token < tokens.first + tokens.count; token++) {
            vector sums[LANES] = {};
            for (int64_t at = 0; at < in; at += 2 * LANES) {
                fetch(factor + ROWS * (in + at), 2 * ROWS * LANES);
#pragma GCC unroll 8
                for (int row = 0; row < ROWS; row++)
                    sums[row] = multiply_pairs(sums[row], x + token * in + at, factor + row * in + at);
            }
            vector sum = totals(sums);
            memcpy(of->low + token * of->rows + index % pieces * ROWS, &sum, ROWS * sizeof(float));
        }
    }
    meet(together);
#pragma omp for nowait
    for (int64_t index = 0; index < of->count * of->chunks; index++) {
        tile tokens = of->tiles[index / of->chunks];
        int64_t chunk = index % of->chunks;
        const element *factor = piece_of_b(of, layer, index);
        fetch(factor + rank * width, rank * width);
        for (int64_t at = 0; at < width; at += 2 * LANES) {
            pair partial[MOST_TOKENS];
            for (int64_t row = 0; row < rank; row += ROWS) {
                pair weights[ROWS];
                for (int each = 0; each < ROWS; each++) weights[each] = load_pair(factor + (row + each) * width + at);
                for (int64_t token = 0; token < tokens.count; token++) {
                    const float *inner = of->low + (tokens.first + token) * of->rows + of->source[chunk] * rank + row;
                    element *output = y + ((tokens.first + token) * of->chunks + chunk) * width + at;
                    pair sum = row ? partial[token] : load_pair(output);
#pragma GCC unroll 8
                    for (int each = 0; each < ROWS; each++) {
                        sum.one += inner[each] * weights[each].one;
                        sum.other += inner[each] * weights[each].other;
                    }
                    if (row + ROWS < rank)
                        partial[token] = sum;
                    else
                        store_pair(output, sum);
                }
            }
        }
    }
}
