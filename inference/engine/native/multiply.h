/* `multiply_part` by itself. */
void multiply(const element *x, const char *packed, const element *bias, void *y, int64_t tokens, int64_t in, int64_t out,
              int64_t bits, int64_t number, const lora *adapters, int64_t layer) {
    team together = {0};
#pragma omp parallel
    multiply_part(x, packed, bias, y, tokens, in, out, bits, number, adapters, layer, &together);
}
