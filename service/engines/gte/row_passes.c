/* The passes over rows that lie between two products, each row read once or twice while it is in the core's own cache:
 * what row_passes.py describes and torch computes in up to ten passes.
 *
 * A NaN must not become a level: a row's largest magnitude is found among the values' bits, where that of a NaN is
 * larger than that of every number, so that the row's scale is one, and so is what is computed with it.
 */
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && !defined(__clang__)
/* The loader chooses by the processor it finds: AVX-512, AVX2, or what every 64-bit x86 has. gcc knows the levels of the
 * architecture by name since 12. */
#if __GNUC__ >= 12 && !defined(CLONES_BY_FEATURE)
#define BY_PROCESSOR __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define BY_PROCESSOR __attribute__((target_clones("avx512f", "avx2", "default")))
#endif
#else
#define BY_PROCESSOR
#endif

/* Sums of a row in so many lanes, because floats are not added in another order than is written. */
#define LANES 16

static const float LEAST_MAGNITUDE = 1e-12f;

static inline int32_t magnitude(float value)
{
    int32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits & 0x7fffffff;
}

static inline float number(int32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline float row_scale(int32_t largest, float levels)
{
    float value = number(largest);
    /* Written so that a NaN stays one. */
    return (value < LEAST_MAGNITUDE ? LEAST_MAGNITUDE : value) / levels;
}

/* GELU by the error function: Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26, to 1.5e-7; its power of
 * e as one of 2, the fraction by the first terms of its series. */
static inline float gelu(float x)
{
    /* Beyond 9 deviations GELU is x or 0. A comparison of whole numbers: one of floats keeps gcc from using vectors. */
    const float most = 9.0f;
    int32_t bits = magnitude(x * 0.70710678f), most_bits = magnitude(most);
    bits = bits > most_bits ? most_bits : bits;
    float z = number(bits);
    float t = 1.0f / (1.0f + 0.3275911f * z);
    float exponent = z * z * -1.44269504f;
    /* Towards zero, so that the fraction is within (-1, 0]. */
    int32_t whole = (int32_t)exponent;
    float f = exponent - (float)whole;
    float power = 1.0f + f * (0.69314718f + f * (0.24022651f + f * (0.05550411f + f * (0.00961813f
        + f * (0.00133336f + f * 0.00015404f)))));
    float tail = t * (0.254829592f + t * (-0.284496736f + t * (1.421413741f + t * (-1.453152027f
        + t * 1.061405429f)))) * power * number((int32_t)((uint32_t)(whole + 127) << 23)) * 0.5f;
    return x * (0.5f + __builtin_copysignf(0.5f - tail, x));
}

/* levels = x * widths / scale + 128, of rows of either sign; scale by row. */
BY_PROCESSOR void gte_levels(const float *restrict x, const float *restrict widths, uint8_t *restrict levels,
    float *restrict scales, int64_t rows, int64_t columns)
{
    for (int64_t row = 0; row < rows; row++) {
        const float *values = x + row * columns;
        uint8_t *out = levels + row * columns;
        int32_t largest = 0;
        for (int64_t at = 0; at < columns; at++) {
            int32_t bits = magnitude(values[at] * widths[at]);
            largest = bits > largest ? bits : largest;
        }
        float scale = row_scale(largest, 127.0f);
        float factor = 1.0f / scale;
        scales[row] = scale;
        for (int64_t at = 0; at < columns; at++)
            out[at] = (uint8_t)(int32_t)(values[at] * widths[at] * factor + 128.5f);
    }
}

/* levels = (gelu(products * row_scale + bias) * widths + shift) / scale, of rows that are never below 0; scale by row.
 * buffer: columns floats. */
BY_PROCESSOR void gte_levels_after_gelu(const float *restrict products, const float *restrict row_scales,
    const float *restrict bias, const float *restrict widths, const float *restrict shift, uint8_t *restrict levels,
    float *restrict scales, float *restrict buffer, int64_t rows, int64_t columns)
{
    for (int64_t row = 0; row < rows; row++) {
        const float *values = products + row * columns;
        uint8_t *out = levels + row * columns;
        float own = row_scales[row];
        int32_t largest = 0;
        for (int64_t at = 0; at < columns; at++)
            buffer[at] = gelu(values[at] * own + bias[at]) * widths[at] + shift[at];
        for (int64_t at = 0; at < columns; at++) {
            int32_t bits = magnitude(buffer[at]);
            largest = bits > largest ? bits : largest;
        }
        float scale = row_scale(largest, 255.0f);
        float factor = 1.0f / scale;
        scales[row] = scale;
        for (int64_t at = 0; at < columns; at++)
            out[at] = (uint8_t)(int32_t)(buffer[at] * factor + 0.5f);
    }
}

/* bfloat16 is the upper half of a float32. */
static inline float from_half(uint16_t half)
{
    return number((int32_t)((uint32_t)half << 16));
}

/* The sums are in out already: centred, of variance 1, times weight, plus bias. */
static inline void normalise(float *restrict out, const float *restrict weight, const float *restrict bias,
    float epsilon, int64_t columns)
{
    float lanes[LANES] = {0}, squares[LANES] = {0}, sum = 0, square = 0;
    int64_t whole = columns / LANES * LANES;
    for (int64_t at = 0; at < whole; at += LANES)
        for (int lane = 0; lane < LANES; lane++)
            lanes[lane] += out[at + lane];
    for (int64_t at = whole; at < columns; at++)
        lanes[at - whole] += out[at];
    for (int lane = 0; lane < LANES; lane++)
        sum += lanes[lane];
    float mean = sum / (float)columns;
    for (int64_t at = 0; at < whole; at += LANES)
        for (int lane = 0; lane < LANES; lane++)
            squares[lane] += (out[at + lane] - mean) * (out[at + lane] - mean);
    for (int64_t at = whole; at < columns; at++)
        squares[at - whole] += (out[at] - mean) * (out[at] - mean);
    for (int lane = 0; lane < LANES; lane++)
        square += squares[lane];
    float factor = 1.0f / __builtin_sqrtf(square / (float)columns + epsilon);
    for (int64_t at = 0; at < columns; at++)
        out[at] = (out[at] - mean) * factor * weight[at] + bias[at];
}

/* out = layer_norm(x + y). */
BY_PROCESSOR void gte_normalised_sum(const float *restrict x, const float *restrict y, const float *restrict weight,
    const float *restrict bias, float *restrict out, float epsilon, int64_t rows, int64_t columns)
{
    for (int64_t row = 0; row < rows; row++, x += columns, y += columns, out += columns) {
        for (int64_t at = 0; at < columns; at++)
            out[at] = x[at] + y[at];
        normalise(out, weight, bias, epsilon, columns);
    }
}

/* The same with y in bfloat16. */
BY_PROCESSOR void gte_normalised_sum_of_half(const float *restrict x, const uint16_t *restrict y,
    const float *restrict weight, const float *restrict bias, float *restrict out, float epsilon, int64_t rows,
    int64_t columns)
{
    for (int64_t row = 0; row < rows; row++, x += columns, y += columns, out += columns) {
        for (int64_t at = 0; at < columns; at++)
            out[at] = x[at] + from_half(y[at]);
        normalise(out, weight, bias, epsilon, columns);
    }
}
