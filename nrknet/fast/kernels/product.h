// Matrix products of blocks of rows and panels of columns: in floats, and of 16-bit integers.
//
// A processor multiplies more of these at a time, and half as much memory passes by. They count steps, which are of one
// size for each row and for each column. Sums of products of SUMMED channels are exact in 32 bits: whoever makes the
// integers takes care that none runs over.

#pragma once

#include "common.h"

constexpr int PACKED = 16;  // numbers that `store_integers` multiplies and rounds

// sum + the products of pairs of neighbouring 16-bit integers, two to a number of 32 bits.
#if defined(__AVX512F__) && defined(__AVX512VNNI__)  // with AVX-512 alone they would take as long as floats
constexpr bool INTEGERS = true;
static inline Ints add_pairs(Ints sum, Ints a, Ints b) {
  return (Ints)_mm512_dpwssd_epi32((__m512i)sum, (__m512i)a, (__m512i)b);
}
static inline void store_integers(std::int16_t* p, const float* from, float by) {
  const __m512i whole = _mm512_cvtps_epi32((__m512)(by * load(from)));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtsepi32_epi16(whole));
}
#elif defined(__AVX2__) && !defined(__AVX512F__)
constexpr bool INTEGERS = true;
static inline Ints add_pairs(Ints sum, Ints a, Ints b) {
#if defined(__AVXVNNI__)
  return (Ints)_mm256_dpwssd_avx_epi32((__m256i)sum, (__m256i)a, (__m256i)b);
#else  // by name: compilers would sum products first, and run out of registers
  Ints products;
  asm("vpmaddwd %2, %3, %1\n\tvpaddd %1, %0, %0" : "+x"(sum), "=&x"(products) : "x"(a), "x"(b));
  return sum;
#endif
}
static inline void store_integers(std::int16_t* p, const float* from, float by) {
  const __m256i one = _mm256_cvtps_epi32((__m256)(by * load(from)));
  const __m256i other = _mm256_cvtps_epi32((__m256)(by * load(from + LANES)));
  const __m256i packed = _mm256_permute4x64_epi64(_mm256_packs_epi32(one, other), 0xd8);  // halves of both in turn
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), packed);
}
#else
constexpr bool INTEGERS = false;
static inline Ints add_pairs(Ints sum, Ints, Ints) { return sum; }
static inline void store_integers(std::int16_t*, const float*, float) {}
#endif

#if defined(__AVX2__) || defined(__AVX512F__)
static inline std::int32_t largest_of(__m256i v) {
  __m128i m = _mm_max_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4e));
  return _mm_cvtsi128_si32(_mm_max_epi32(m, _mm_shuffle_epi32(m, 0xb1)));
}
static inline std::int32_t largest(Ints v) {
  __m256i parts[LANES / 8];
  std::memcpy(parts, &v, sizeof v);
  return largest_of(LANES > 8 ? _mm256_max_epi32(parts[0], parts[LANES / 8 - 1]) : parts[0]);
}
#else
static inline std::int32_t largest(Ints) { return 0; }
#endif

constexpr int STEP = 16;    // channels; their number divides by it
constexpr int SUMMED = 64;  // channels over which products of integers are summed up exactly
template <typename T>
constexpr int LINE = 64 / sizeof(T);  // numbers in a line of the cache

// acc[r][v] += sum_c a[r * stride + c] * w[c * VECS * LANES + v * LANES ...]
template <int ROWS, int VECS>
static inline void multiply(Vec (&acc)[ROWS][VECS], const float* a, std::ptrdiff_t stride, const float* w, int depth) {
#pragma GCC unroll 4
  for (int c = 0; c < depth; ++c) {
    Vec b[VECS];
#pragma GCC unroll 2
    for (int v = 0; v < VECS; ++v) b[v] = load(w + (c * VECS + v) * LANES);
#pragma GCC unroll 16
    for (int r = 0; r < ROWS; ++r) {
      const float x = a[r * stride + c];
#pragma GCC unroll 2
      for (int v = 0; v < VECS; ++v) acc[r][v] += x * b[v];
    }
  }
}

// The same for STEP channels; for every pair of them the weights of a column are beside each other.
template <int ROWS, int VECS>
static inline void multiply(Ints (&acc)[ROWS][VECS], const std::int16_t* a, std::ptrdiff_t stride,
                            const std::int16_t* w) {
#pragma GCC unroll 4
  for (int c = 0; c < STEP; c += 2) {
    Ints b[VECS];
#pragma GCC unroll 2
    for (int v = 0; v < VECS; ++v) b[v] = *reinterpret_cast<const Ints*>(w + (c * VECS + 2 * v) * LANES);
    asm volatile("" ::: "memory");  // or compilers would load them anew for every row
#pragma GCC unroll 16
    for (int r = 0; r < ROWS; ++r) {
      std::int32_t pair;
      std::memcpy(&pair, a + r * stride + c, sizeof pair);
      const Ints x = Ints{} + pair;
#pragma GCC unroll 2
      for (int v = 0; v < VECS; ++v) acc[r][v] = add_pairs(acc[r][v], x, b[v]);
    }
  }
}

// Memory that is wanted soon: every step of a product fetches a part of it.
template <typename N>
struct Ahead {
  const N* from;
  std::ptrdiff_t step;  // numbers for a step's channels
};

// What integers are multiplied by in the end.
struct Steps {
  const float *rows, *columns;
  std::ptrdiff_t apart;  // from row to row
};

// Loops over `acc` are unrolled, or it would go through memory.
template <int ROWS, int VECS, typename Sum>
static inline void clear(Sum (&acc)[ROWS][VECS]) {
#pragma GCC unroll 16
  for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 2
    for (int v = 0; v < VECS; ++v) acc[r][v] = Sum{};
}

// Fetch what is wanted soon: of the next weights and of the next rows of a.
template <int ROWS, int VECS, typename N>
static inline void fetch(Ahead<N>& weights, const N*& rows) {
#pragma GCC unroll 16
  for (int i = 0; i < STEP * VECS * LANES / 4; i += LINE<N>) __builtin_prefetch(weights.from + i, 0, 2);
#pragma GCC unroll 16
  for (int i = 0; i < STEP * ROWS; i += LINE<N>) __builtin_prefetch(rows + i, 0, 2);
  weights.from += weights.step;
  rows += STEP * ROWS;
}

// out[r * out_stride + v * LANES ...] = sum_c a[r * stride + c] * w[...]
template <int ROWS, int VECS>
static void product(const float* a, std::ptrdiff_t stride, const float* w, int depth, float* out,
                    std::ptrdiff_t out_stride, Ahead<float> weights, const float* rows, Steps) {
  Vec acc[ROWS][VECS];
  clear(acc);
  for (int c = 0; c < depth; c += STEP) {
    fetch<ROWS, VECS>(weights, rows);
    multiply<ROWS, VECS>(acc, a + c, stride, w + c * VECS * LANES, std::min(STEP, depth - c));
  }
#pragma GCC unroll 16
  for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 2
    for (int v = 0; v < VECS; ++v) store(out + r * out_stride + v * LANES, acc[r][v]);
}

// Sums of integers to floats: added to those before (MORE), and times their steps in the end (LAST).
template <int ROWS, int VECS, bool MORE, bool LAST>
static inline void put(const Ints (&acc)[ROWS][VECS], float* out, std::ptrdiff_t out_stride, const Steps& steps) {
#pragma GCC unroll 16
  for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 2
    for (int v = 0; v < VECS; ++v) {
      float* to = out + r * out_stride + v * LANES;
      Vec sum = __builtin_convertvector(acc[r][v], Vec);
      if (MORE) sum += load(to);
      if (LAST) sum *= steps.rows[r * steps.apart] * load(steps.columns + v * LANES);
      store(to, sum);
    }
}

// The same of integers, whose sums over SUMMED channels become floats.
template <int ROWS, int VECS>
static void product(const std::int16_t* a, std::ptrdiff_t stride, const std::int16_t* w, int depth, float* out,
                    std::ptrdiff_t out_stride, Ahead<std::int16_t> weights, const std::int16_t* rows, Steps steps) {
  for (int c = 0; c < depth;) {
    const bool more = c > 0;
    const int stop = std::min(c + SUMMED, depth);
    Ints acc[ROWS][VECS];
    clear(acc);
    for (; c < stop; c += STEP) {
      fetch<ROWS, VECS>(weights, rows);
      multiply<ROWS, VECS>(acc, a + c, stride, w + c * VECS * LANES);
    }
    if (stop < depth)
      more ? put<ROWS, VECS, true, false>(acc, out, out_stride, steps)
           : put<ROWS, VECS, false, false>(acc, out, out_stride, steps);
    else
      more ? put<ROWS, VECS, true, true>(acc, out, out_stride, steps)
           : put<ROWS, VECS, false, true>(acc, out, out_stride, steps);
  }
}

template <typename N>
using Product = void (*)(const N*, std::ptrdiff_t, const N*, int, float*, std::ptrdiff_t, Ahead<N>, const N*, Steps);

// The product of an even number of rows, and a choice of panels of one or two vectors.
template <int VECS, typename N>
static Product<N> product_of(int rows) {
  static constexpr Product<N> all[] = {
      product<2, VECS>, product<4, VECS>, product<6, VECS>,
#if defined(__AVX512F__) || !defined(__AVX2__)
      product<8, VECS>,
#endif
#if defined(__AVX512F__)
      product<10, VECS>, product<12, VECS>, product<14, VECS>,
#endif
  };
  return all[rows / 2 - 1];
}
