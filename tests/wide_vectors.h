// Lets a processor with AVX2 run what the kernels do on one with AVX-512: vectors of 16 numbers, which the compiler
// splits in two, and the instructions that the kernels name, made of those of AVX2. Included before everything.

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

static inline __m512i wide_to_whole(__m512 wide) {
  __m256 parts[2];
  std::memcpy(parts, &wide, sizeof wide);
  const __m256i whole[2] = {_mm256_cvtps_epi32(parts[0]), _mm256_cvtps_epi32(parts[1])};
  __m512i result;
  std::memcpy(&result, whole, sizeof result);
  return result;
}

static inline __m256i wide_to_short(__m512i wide) {
  __m256i parts[2];
  std::memcpy(parts, &wide, sizeof wide);
  return _mm256_permute4x64_epi64(_mm256_packs_epi32(parts[0], parts[1]), 0xd8);
}

static inline __m512i add_pairs_of_wide(__m512i sum, __m512i a, __m512i b) {
  __m256i s[2], x[2], y[2];
  std::memcpy(s, &sum, sizeof sum);
  std::memcpy(x, &a, sizeof a);
  std::memcpy(y, &b, sizeof b);
  for (int i = 0; i < 2; ++i) s[i] = _mm256_add_epi32(s[i], _mm256_madd_epi16(x[i], y[i]));
  std::memcpy(&sum, s, sizeof sum);
  return sum;
}

#define __AVX512F__ 1
#define __AVX512VNNI__ 1
#define _mm512_cvtph_ps(halves) halves_to_wide(halves)
#define _mm512_cvtps_ph(wide, rounding) wide_to_halves(wide)
#define _mm512_cvtps_epi32(wide) wide_to_whole(wide)
#define _mm512_cvtsepi32_epi16(wide) wide_to_short(wide)
#define _mm512_dpwssd_epi32(sum, a, b) add_pairs_of_wide(sum, a, b)
