// Lets a processor with AVX2 run what the kernels do on one with AVX-512: vectors of 16 numbers, which the compiler
// splits in two, and the two instructions that the kernels name, made of two of AVX2's. Included before everything.

#pragma once

#include <immintrin.h>

#include <cstring>

static inline __m512 halves_to_wide(__m256i halves) {
  const __m256 parts[2] = {_mm256_cvtph_ps(_mm256_castsi256_si128(halves)),
                           _mm256_cvtph_ps(_mm256_extracti128_si256(halves, 1))};
  __m512 wide;
  std::memcpy(&wide, parts, sizeof wide);
  return wide;
}

static inline __m256i wide_to_halves(__m512 wide) {
  __m256 parts[2];
  std::memcpy(parts, &wide, sizeof wide);
  const __m128i low = _mm256_cvtps_ph(parts[0], _MM_FROUND_TO_NEAREST_INT);
  return _mm256_inserti128_si256(_mm256_castsi128_si256(low), _mm256_cvtps_ph(parts[1], _MM_FROUND_TO_NEAREST_INT), 1);
}

#define __AVX512F__ 1
#define _mm512_cvtph_ps(halves) halves_to_wide(halves)
#define _mm512_cvtps_ph(wide, rounding) wide_to_halves(wide)
