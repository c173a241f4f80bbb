// Where kernels read maps: by rows beyond whose ends the last ones repeat, or enlarged; and functions of numbers.

#pragma once

#include "common.h"

constexpr int STRIP = 16;  // pixels that are made together

// Rows of a map from `first` on; rows beyond those that are held do not exist, so that the ends repeat.
struct Source {
  Image image;
  std::int32_t first, rows, columns, channels;

  template <typename T = float>
  const T* at(int row, int column) const {
    row = std::clamp(row - first, 0, rows - 1);
    return numbers<const T>(image) + row * image.row + std::clamp(column, 0, columns - 1) * image.pixel;
  }
};

// The four pixels of a map between which a pixel of its twofold enlargement lies; the first is nearest (9/16).
struct Corners {
  const float* pixel[4];

  Vec vector(int c) const {
    return 0.5625f * load(pixel[0] + c) + 0.1875f * (load(pixel[1] + c) + load(pixel[2] + c)) +
           0.0625f * load(pixel[3] + c);
  }
};

// A row of a map's twofold enlargement.
struct Enlarged {
  const float *near, *far;  // the rows that it lies between
  std::int64_t pixel;
  int columns;

  Enlarged(const Source& s, int y)
      : near(s.at(y / 2, 0)), far(s.at(y / 2 + (y % 2 ? 1 : -1), 0)), pixel(s.image.pixel), columns(s.columns) {}
  Corners at(int x) const {
    const std::int64_t column = std::min(x / 2, columns - 1) * pixel;
    const std::int64_t next = std::clamp(x / 2 + (x % 2 ? 1 : -1), 0, columns - 1) * pixel;
    return {{near + column, near + next, far + column, far + next}};
  }
};

// e^x, off by 2e-7 of it at most; x is cut to [-87, 88].
static inline Vec exponential(Vec x) {
  x = x > -87.0f ? x : Vec{} - 87.0f;
  x = x < 88.0f ? x : Vec{} + 88.0f;
  const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number
  const Vec shifted = x * 1.44269504f + magic;
  const Vec n = shifted - magic;
  const Vec r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  Vec p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  const Ints exponent = (reinterpret_cast<Ints>(shifted) - 0x4B400000 + 127) << 23;
  return p * reinterpret_cast<Vec>(exponent);
}

static inline Vec sigmoid(Vec x) { return 1.0f / (1.0f + exponential(-x)); }
static inline Vec hyperbolic_tangent(Vec x) { return 2.0f * sigmoid(2.0f * x) - 1.0f; }
