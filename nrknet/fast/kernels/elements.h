// What else happens pixel by pixel between the convolutions: sums, sizes, pixels in and out.

#pragma once

#include "sources.h"

// ------------------------------------------------------------------------------------------------------------ sums

struct Sum {  // output = one + other
  Planes one, other, output;
  std::int32_t planes, rows, columns;
};

static void sum_row(const Sum& s, int plane, int y) {
  const float* one = s.one.data + plane * s.one.plane + y * s.one.row;
  const float* other = s.other.data + plane * s.other.plane + y * s.other.row;
  float* to = s.output.data + plane * s.output.plane + y * s.output.row;
  for (int x = 0; x < s.columns; ++x) to[x] = one[x] + other[x];
}

// ------------------------------------------------------------------------------------------------------------ rows

struct Shift {  // rows [by, by + rows) of every plane become rows [0, rows), in the same memory
  Planes planes;
  std::int32_t count, by, rows, columns;
};

// ----------------------------------------------------------------------------------------------------- sub-pixels

struct Shuffle {  // input + the sub-pixels of a map
  Planes input, output;
  Source pixels;
  std::int32_t start, stop, columns, stem;
};

template <int STEM>
static void shuffle_row(const Shuffle& s, int y) {
  const float* from = s.input.data + (y - s.start) * s.input.row;
  const float* pixels = s.pixels.at(y / STEM, 0) + y % STEM * STEM;
  float* to = s.output.data + (y - s.start) * s.output.row;
  for (int x = 0; x < s.columns; x += STEM, pixels += s.pixels.image.pixel)
    for (int c = 0; c < 3; ++c)
      for (int dx = 0; dx < STEM; ++dx)
        to[c * s.output.plane + x + dx] = from[c * s.input.plane + x + dx] + pixels[c * STEM * STEM + dx];
}

struct Enlarge {  // base + input enlarged; the output may be the base
  Planes input, base, output;
  std::int32_t first, rows, input_columns, start, stop, columns, factor, planes;
};

template <int FACTOR>
static void enlarge_row(const Enlarge& e, int y) {
  float* blended = scratch(e.input_columns + 2) + 1;
  const float place = (y + 0.5f) / FACTOR - 0.5f, below = place - std::floor(place);
  const int row = static_cast<int>(std::floor(place)) - e.first;
  const int top = std::clamp(row, 0, e.rows - 1), bottom = std::clamp(row + 1, 0, e.rows - 1);
  float left[FACTOR], own[FACTOR], right[FACTOR];  // what a sub-pixel takes of its pixel and of those beside it
  for (int i = 0; i < FACTOR; ++i) {
    const float at = (i + 0.5f) / FACTOR - 0.5f;
    left[i] = std::max(-at, 0.0f), right[i] = std::max(at, 0.0f), own[i] = 1 - std::abs(at);
  }
  for (int c = 0; c < e.planes; ++c) {
    const float* a = e.input.data + c * e.input.plane + top * e.input.row;
    const float* b = e.input.data + c * e.input.plane + bottom * e.input.row;
    for (int x = 0; x < e.input_columns; ++x) blended[x] = (1 - below) * a[x] + below * b[x];
    blended[-1] = blended[0], blended[e.input_columns] = blended[e.input_columns - 1];
    const float* base = e.base.data + c * e.base.plane + (y - e.start) * e.base.row;
    float* to = e.output.data + c * e.output.plane + (y - e.start) * e.output.row;
    for (int x = 0; x < e.input_columns; ++x)
#pragma GCC unroll 4
      for (int i = 0; i < FACTOR; ++i)
        to[x * FACTOR + i] =
            base[x * FACTOR + i] + (left[i] * blended[x - 1] + own[i] * blended[x] + right[i] * blended[x + 1]);
  }
}

// ---------------------------------------------------------------------------------------------------------- pixels

struct FromPixels {  // rows of an image of 8 or 16 bits, scaled to [0, 1]; beyond its ends the last ones repeat
  const void* pixels;  // the row `start`
  std::int64_t row;    // numbers from row to row
  Planes output;
  std::int32_t start, stop, height, width, columns, wide, swap;  // wide: 16 bits; swap: blue first
};

template <typename Number>
static void from_pixels_row(const FromPixels& f, int i) {
  const int held = std::min(f.start + i, f.height - 1) - std::min(f.start, f.height - 1);
  const Number* from = static_cast<const Number*>(f.pixels) + held * f.row;
  const float top = sizeof(Number) == 1 ? 255.0f : 65535.0f;
  for (int c = 0; c < 3; ++c) {
    float* to = f.output.data + (f.swap ? 2 - c : c) * f.output.plane + i * f.output.row;
    for (int x = 0; x < f.width; ++x) to[x] = from[3 * x + c] / top;
    std::fill(to + f.width, to + f.columns, to[f.width - 1]);
  }
}

struct ToPixels {  // clipped and rounded
  Planes input;
  void* pixels;
  std::int64_t row;
  std::int32_t rows, columns, wide, swap;
};

template <typename Number>
static void to_pixels_row(const ToPixels& t, int i) {
  Number* to = static_cast<Number*>(t.pixels) + i * t.row;
  const float top = sizeof(Number) == 1 ? 255.0f : 65535.0f;
  for (int c = 0; c < 3; ++c) {
    const float* from = t.input.data + (t.swap ? 2 - c : c) * t.input.plane + i * t.input.row;
    for (int x = 0; x < t.columns; ++x) {
      const float value = from[x] > 0.0f ? (from[x] < 1.0f ? from[x] : 1.0f) : 0.0f;
      to[3 * x + c] = static_cast<Number>(std::nearbyint(value * top));
    }
  }
}

struct Halve {  // bilinear with antialiasing: [1, 3, 3, 1] / 8 both ways, less what lies outside
  Planes input, output;
  std::int32_t first, rows, input_columns, start, stop, columns, height;  // height: of the whole input
};

static void halve_row(const Halve& h, int y) {
  float* blended = scratch(h.input_columns);
  constexpr float taps[4] = {1, 3, 3, 1};
  const auto share = [&](int i, int middle, int size) {  // the weight of tap i around 2 * middle
    const int at = 2 * middle - 1 + i;
    if (at < 0 || at >= size) return 0.0f;
    return taps[i] / (middle == 0 || middle == size / 2 - 1 ? (size == 2 ? 6.0f : 7.0f) : 8.0f);
  };
  for (int c = 0; c < 3; ++c) {
    std::fill(blended, blended + h.input_columns, 0.0f);
    for (int i = 0; i < 4; ++i) {
      const float weight = share(i, y, h.height);
      if (weight == 0.0f) continue;
      const float* from = h.input.data + c * h.input.plane + (2 * y - 1 + i - h.first) * h.input.row;
      for (int x = 0; x < h.input_columns; ++x) blended[x] += weight * from[x];
    }
    float* to = h.output.data + c * h.output.plane + (y - h.start) * h.output.row;
    for (int x = 1; x < h.columns - 1; ++x)
      to[x] = 0.125f * (blended[2 * x - 1] + blended[2 * x + 2]) + 0.375f * (blended[2 * x] + blended[2 * x + 1]);
    for (int x : {0, h.columns - 1}) {
      to[x] = 0;
      for (int i = 0; i < 4; ++i)
        if (const float weight = share(i, x, h.input_columns); weight != 0.0f) to[x] += weight * blended[2 * x - 1 + i];
    }
  }
}

// ------------------------------------------------------------------------------------------------------- interface

extern "C" {

void nrknet_sum(const Sum* s, std::int32_t threads) {
  pool().run(s->planes * s->rows, threads, [&](int i) { sum_row(*s, i / s->rows, i % s->rows); });
}

void nrknet_shift(const Shift* s, std::int32_t threads) {
  const int pieces = std::max(1, std::min(threads, s->columns / 1024));  // of a row: each goes its own way
  pool().run(s->count * pieces, threads, [&](int i) {
    const int piece = i % pieces, from = static_cast<std::int64_t>(s->columns) * piece / pieces;
    const int to = static_cast<std::int64_t>(s->columns) * (piece + 1) / pieces;
    float* target = s->planes.data + i / pieces * s->planes.plane + from;
    for (int y = 0; y < s->rows; ++y, target += s->planes.row)
      std::memcpy(target, target + s->by * s->planes.row, 4 * (to - from));
  });
}

void nrknet_shuffle(const Shuffle* s, std::int32_t threads) {
  const auto row = s->stem == 1 ? shuffle_row<1> : shuffle_row<2>;
  pool().run(s->stop - s->start, threads, [&](int i) { row(*s, s->start + i); });
}

void nrknet_enlarge(const Enlarge* e, std::int32_t threads) {
  const auto row = e->factor == 1   ? enlarge_row<1>
                   : e->factor == 2 ? enlarge_row<2>
                   : e->factor == 4 ? enlarge_row<4>
                                    : enlarge_row<8>;
  pool().run(e->stop - e->start, threads, [&](int i) { row(*e, e->start + i); });
}

void nrknet_from_pixels(const FromPixels* f, std::int32_t threads) {
  pool().run(f->stop - f->start, threads,
             [&](int i) { f->wide ? from_pixels_row<std::uint16_t>(*f, i) : from_pixels_row<std::uint8_t>(*f, i); });
}

void nrknet_to_pixels(const ToPixels* t, std::int32_t threads) {
  pool().run(t->rows, threads,
             [&](int i) { t->wide ? to_pixels_row<std::uint16_t>(*t, i) : to_pixels_row<std::uint8_t>(*t, i); });
}

void nrknet_halve(const Halve* h, std::int32_t threads) {
  pool().run(h->stop - h->start, threads, [&](int i) { halve_row(*h, h->start + i); });
}

}  // extern "C"
