/* The tile registers (Intel AMX) of products of matrices in bfloat16. */

/* Registers 0 to 3 hold the sums of two blocks of tokens by two of outputs, 4 and 5 inputs, 6 and 7 weights;
 * upper and lower: the tokens of each block. With 16 of both every register is a whole tile. */
static void configure(int64_t upper, int64_t lower) {
    struct {
        uint8_t palette, first_row, reserved[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    } __attribute__((packed, aligned(64))) shape = {.palette = 1};
    for (int at = 0; at < 8; at++) {
        shape.bytes[at] = 64;
        shape.rows[at] = at == 0 || at == 1 || at == 4 ? upper : at == 6 || at == 7 ? 16 : lower ? lower : 1;
    }
    _tile_loadconfig(&shape);
}
