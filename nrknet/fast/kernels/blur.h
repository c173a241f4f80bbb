// Blur by recursive atoms (Eq. 4, 5, 11), with one running blurred image.

#pragma once

#include "common.h"

// y = D x or x - D x (Eq. 11) on rows [first, last) of an image; D x = sum_j coefficients_j (x * A_j).
struct Blur {
  const float* taps;  // atoms x 3 colours x 3: the recursive atoms' one-dimensional factors a_j
  const float* mix;   // (atoms + 1) x 3 x 3, what colour j of the output takes of each colour; or null: its own
  const float* bias;  // 3, or null
  Planes input, coefficients, output;  // data are those of row `first`
  std::int32_t atoms, first, last, height, width, subtract;
};

static void blur_columns(const Blur& b, int left, int right) {
  const int reach = b.atoms, rows = b.last - b.first, columns = right - left;
  const int above = std::min(reach, b.first), below = std::min(reach, b.height - b.last);
  const int before = std::min(reach, left), after = std::min(reach, b.width - right);
  const int tall = above + rows + below, wide = before + columns + after;
  const bool top = above < reach, bottom = below < reach, start = before < reach, end = after < reach;
  const int pitch = (wide + 2 + 15) / 16 * 16;
  const std::ptrdiff_t size = static_cast<std::ptrdiff_t>(tall) * pitch;
  float* current = scratch(3 * size + 3 * static_cast<std::ptrdiff_t>(rows) * pitch + 2 * pitch);
  float* total = current + 3 * size;
  float* blended = total + 3 * static_cast<std::ptrdiff_t>(rows) * pitch;  // a row by the vertical taps
  float* before_it = blended + pitch;                                      // the row above as it was

  for (int c = 0; c < 3; ++c)
    for (int y = 0; y < tall; ++y) {
      const float* from = b.input.data + c * b.input.plane + (y - above) * b.input.row + left - before;
      std::copy(from, from + wide, current + c * size + y * pitch);
    }
  std::fill(total, total + 3 * static_cast<std::ptrdiff_t>(rows) * pitch, 0.0f);
  for (int j = 0; j <= b.atoms; ++j) {
    if (j > 0) {
      // what is still right shrinks by one row and column an atom, but not where the photo ends: there it reflects
      const int y0 = top ? 0 : j, y1 = bottom ? tall : tall - j, x0 = start ? 0 : j, x1 = end ? wide : wide - j;
      for (int c = 0; c < 3; ++c) {
        const float* a = b.taps + ((j - 1) * 3 + c) * 3;
        const float a0 = a[0], a1 = a[1], a2 = a[2];
        float* plane = current + c * size;
        const float* above_first = plane + (y0 > 0 ? y0 - 1 : std::min(1, tall - 1)) * pitch;
        std::copy(above_first, above_first + wide, before_it);
        for (int y = y0; y < y1; ++y) {
          float* here = plane + y * pitch;
          const float* down = y + 1 < tall ? here + pitch : before_it;
          for (int x = 0; x < wide; ++x) {
            const float own = here[x];
            blended[x] = a0 * before_it[x] + a1 * own + a2 * down[x];
            before_it[x] = own;
          }
          const int inner0 = std::max(x0, 1), inner1 = std::min(x1, wide - 1);
          for (int x = inner0; x < inner1; ++x) here[x] = a0 * blended[x - 1] + a1 * blended[x] + a2 * blended[x + 1];
          if (x0 == 0) here[0] = (a0 + a2) * blended[wide > 1] + a1 * blended[0];
          if (x1 == wide && wide > 1) here[wide - 1] = (a0 + a2) * blended[wide - 2] + a1 * blended[wide - 1];
        }
      }
    }
    for (int y = 0; y < rows; ++y) {
      const float* weight = b.coefficients.data + j * b.coefficients.plane + y * b.coefficients.row + left;
      const float* r = current + (above + y) * static_cast<std::ptrdiff_t>(pitch) + before;
      for (int c = 0; c < 3; ++c) {
        float* to = total + (static_cast<std::ptrdiff_t>(c) * rows + y) * pitch;
        if (b.mix) {
          const float* m = b.mix + (j * 3 + c) * 3;
          const float m0 = m[0], m1 = m[1], m2 = m[2];
          for (int x = 0; x < columns; ++x)
            to[x] += weight[x] * (m0 * r[x] + m1 * r[size + x] + m2 * r[2 * size + x]);
        } else {
          const float* own = r + c * size;
          for (int x = 0; x < columns; ++x) to[x] += weight[x] * own[x];
        }
      }
    }
  }
  for (int c = 0; c < 3; ++c)
    for (int y = 0; y < rows; ++y) {
      const float* sum = total + (static_cast<std::ptrdiff_t>(c) * rows + y) * pitch;
      const float* x = b.input.data + c * b.input.plane + y * b.input.row + left;
      float* to = b.output.data + c * b.output.plane + y * b.output.row + left;
      const float bias = b.bias ? b.bias[c] : 0.0f;
      for (int i = 0; i < columns; ++i) to[i] = b.subtract ? x[i] - (sum[i] + bias) : sum[i] + bias;
    }
}

extern "C" {

void nrknet_blur(const Blur* blur, std::int32_t threads) {
  constexpr int COLUMNS = 240;
  const int pieces = std::max((blur->width + COLUMNS - 1) / COLUMNS, std::min(threads, blur->width / 64));
  const int piece = (blur->width + pieces - 1) / pieces;
  pool().run(pieces, threads, [&](int i) {
    const int left = i * piece, right = std::min(blur->width, left + piece);
    if (left < right) blur_columns(*blur, left, right);
  });
}

}  // extern "C"
