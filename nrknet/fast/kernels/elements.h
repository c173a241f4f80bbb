// What happens pixel by pixel between the convolutions: joining maps, the memory cell, coefficients, sizes, pixels.

#pragma once

#include "common.h"

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

typedef std::int32_t Whole __attribute__((vector_size(4 * LANES), aligned(4)));

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
  const Whole exponent = (reinterpret_cast<Whole>(shifted) - 0x4B400000 + 127) << 23;
  return p * reinterpret_cast<Vec>(exponent);
}

static inline Vec sigmoid(Vec x) { return 1.0f / (1.0f + exponential(-x)); }
static inline Vec hyperbolic_tangent(Vec x) { return 2.0f * sigmoid(2.0f * x) - 1.0f; }

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

// ----------------------------------------------------------------------------------------------- maps into one map

enum Mode : std::int32_t { COPY, AVERAGE, ENLARGE, REPEAT, BLOCKS };  // AVERAGE to REPEAT by 2 in both directions

struct Part {
  Source source;      // of floats or halves; ENLARGE of floats
  Planes one, other;  // BLOCKS: stem x stem pixels of gain (one - other) + shift, from row `start` on; other or no data
  std::int32_t mode, halves, stem;
  float gain, shift;
  std::int32_t reserved;
};

struct Join {
  Image output;  // of floats or halves
  std::int32_t start, stop, columns, channels, halves, count;
  Part parts[3];  // side by side in the output's channels, and then zeros
};

constexpr int STRIP = 16;  // pixels that are made together

// A part of `count` pixels from x on. The last vector of a pixel may write numbers that do not matter after its own.
template <typename T>
static void put_channels(const Part& part, int y, int x, int count, float* to, int pitch) {
  const Source& s = part.source;
  const int halving = part.mode == REPEAT ? 1 : 0;
  const T* row = s.at<T>(y >> halving, 0);
  for (int i = 0; i < count; ++i, to += pitch) {
    const T* from = row + std::min((x + i) >> halving, s.columns - 1) * s.image.pixel;
    for (int k = 0; k < s.channels; k += LANES) store(to + k, load(from + k));
  }
}

template <typename T>
static void put_averages(const Part& part, int y, int x, int count, float* to, int pitch) {
  const Source& s = part.source;
  const T *above = s.at<T>(2 * y, 0), *below = s.at<T>(2 * y + 1, 0);
  for (int i = 0; i < count; ++i, to += pitch) {
    const std::int64_t one = std::min(2 * (x + i), s.columns - 1) * s.image.pixel;
    const std::int64_t other = std::min(2 * (x + i) + 1, s.columns - 1) * s.image.pixel;
    for (int k = 0; k < s.channels; k += LANES)
      store(to + k, 0.25f * (load(above + one + k) + load(above + other + k) + load(below + one + k) +
                             load(below + other + k)));
  }
}

static void put_enlarged(const Part& part, int y, int x, int count, float* to, int pitch) {
  const Enlarged enlarged(part.source, y);
  for (int i = 0; i < count; ++i, to += pitch) {
    const Corners corners = enlarged.at(x + i);
    for (int k = 0; k < part.source.channels; k += LANES) store(to + k, corners.vector(k));
  }
}

template <int STEM>
static void put_blocks(const Part& part, int row, int x, int count, float* to, int pitch) {
  for (int c = 0; c < 3; ++c)
    for (int dy = 0; dy < STEM; ++dy) {
      const float* one = part.one.data + c * part.one.plane + (row * STEM + dy) * part.one.row + x * STEM;
      const float* other = part.other.data + c * part.other.plane + (row * STEM + dy) * part.other.row + x * STEM;
      float values[STRIP * STEM];
      if (part.other.data)
        for (int i = 0; i < count * STEM; ++i) values[i] = part.gain * (one[i] - other[i]) + part.shift;
      else
        for (int i = 0; i < count * STEM; ++i) values[i] = part.gain * one[i] + part.shift;
      float* channel = to + (c * STEM + dy) * STEM;
      for (int i = 0; i < count; ++i) std::memcpy(channel + i * pitch, values + i * STEM, STEM * sizeof(float));
    }
}

template <typename T>
static void join_row(const Join& join, int row) {
  const int pitch = join.channels + LANES, y = join.start + row;
  float* strip = scratch(STRIP * pitch);
  for (int x = 0; x < join.columns; x += STRIP) {
    const int count = std::min(STRIP, join.columns - x);
    float* to = strip;
    for (int p = 0; p < join.count; ++p) {
      const Part& part = join.parts[p];
      if (part.mode == BLOCKS)
        (part.stem == 1 ? put_blocks<1> : put_blocks<2>)(part, row, x, count, to, pitch);
      else if (part.mode == ENLARGE)
        put_enlarged(part, y, x, count, to, pitch);
      else if (part.mode == AVERAGE)
        (part.halves ? put_averages<Half> : put_averages<float>)(part, y, x, count, to, pitch);
      else
        (part.halves ? put_channels<Half> : put_channels<float>)(part, y, x, count, to, pitch);
      to += part.mode == BLOCKS ? 3 * part.stem * part.stem : part.source.channels;
    }
    T* out = numbers<T>(join.output) + row * join.output.row + x * join.output.pixel;
    const int rest = join.channels - static_cast<int>(to - strip);
    for (int i = 0; i < count; ++i, out += join.output.pixel) {
      for (int k = 0; k < rest; ++k) to[i * pitch + k] = 0;
      for (int k = 0; k < join.channels; k += LANES) store(out + k, load(strip + i * pitch + k));
    }
  }
}

// ------------------------------------------------------------------------------------------------ the memory cell

struct State {
  Source gates, previous;  // previous: hidden and cell state of the coarser scale, or no data
  Image output;
  std::int32_t start, stop, columns, hidden;
};

static void state_row(const State& s, int y) {
  const int count = s.hidden;
  const bool before = s.previous.image.data != nullptr;
  const Enlarged previous(before ? s.previous : s.gates, before ? y : 0);
  for (int x = 0; x < s.columns; ++x) {
    const float* gates = s.gates.at(y, x);
    float* to = s.output.data + (y - s.start) * s.output.row + x * s.output.pixel;
    const Corners corners = previous.at(before ? x : 0);
    for (int k = 0; k < count; k += LANES) {
      // the last vector reads numbers that follow, which do not matter, and must not write where they are
      Vec cell = sigmoid(load(gates + k)) * hyperbolic_tangent(load(gates + 3 * count + k));
      if (before) cell += sigmoid(load(gates + count + k)) * corners.vector(count + k);
      const Vec hidden = sigmoid(load(gates + 2 * count + k)) * hyperbolic_tangent(cell);
      if (k + LANES <= count) {
        store(to + k, hidden);
        store(to + count + k, cell);
      } else {
        for (int i = 0; k + i < count; ++i) to[k + i] = hidden[i], to[count + k + i] = cell[i];
      }
    }
  }
}

// --------------------------------------------------------------------------------------------------- coefficients

static void to_planes(const float* pixels, int pitch, int count, int channels, const Planes& out, int row, int x) {
  for (int k = 0; k < channels; ++k) {
    float* to = out.data + k * out.plane + row * out.row + x;
    for (int i = 0; i < count; ++i) to[i] = pixels[i * pitch + k];
  }
}

struct Gate {  // h attention + h
  Source attention, hidden;
  Planes output;
  std::int32_t start, stop, columns, count, pool;
};

static void gate_row(const Gate& g, int y) {
  const int pitch = (g.count + LANES - 1) / LANES * LANES;
  float* strip = scratch(STRIP * pitch);
  for (int x = 0; x < g.columns; x += STRIP) {
    const int pixels = std::min(STRIP, g.columns - x);
    for (int i = 0; i < pixels; ++i) {
      const float *a = g.attention.at(y, x + i), *h = g.hidden.at(y / g.pool, (x + i) / g.pool);
      for (int k = 0; k < pitch; k += LANES) store(strip + i * pitch + k, load(h + k) * load(a + k) + load(h + k));
    }
    to_planes(strip, pitch, pixels, g.count, g.output, y - g.start, x);
  }
}

struct LookUp {  // softmax over the radii, times the table, whose first radius is zero
  Source logits;
  Image output;
  const float* table;  // (radii - 1) x width
  std::int32_t start, stop, columns, radii, width;
};

constexpr int TOGETHER = 4;  // pixels whose sums are made in turns, since a sum waits for its last product

// found[i] = sum over r of weights[i][r] * table[r]
__attribute__((noinline)) static void weighted(const float* weights, int pitch, const float* table, int width, int rows,
                                               Vec (&found)[TOGETHER]) {
  const float *one = weights, *two = one + pitch, *three = two + pitch, *four = three + pitch;
  Vec sums[TOGETHER] = {};
  for (int r = 0; r < rows; ++r, table += width) {
    const Vec row = load(table);
    sums[0] += one[r] * row, sums[1] += two[r] * row, sums[2] += three[r] * row, sums[3] += four[r] * row;
  }
#pragma GCC unroll 4
  for (int i = 0; i < TOGETHER; ++i) found[i] = sums[i];
}

static void look_up_row(const LookUp& l, int y) {
  const int padded = (l.radii + LANES - 1) / LANES * LANES;
  float* weights = scratch(TOGETHER * padded + LANES);
  float* lanes = weights + TOGETHER * padded;
  Vec none = {};  // where the last vector has no radius
  for (int i = 0; i < LANES; ++i) none[i] = padded - LANES + i < l.radii ? 0.0f : -1e9f;
  for (int x = 0; x < l.columns; x += TOGETHER) {
    float sums[TOGETHER];
    for (int i = 0; i < TOGETHER; ++i) {
      float* own = weights + i * padded;
      const float* logits = l.logits.at(y, x + i);
      const auto logit = [&](int r) { return r + LANES < padded ? load(logits + r) : load(logits + r) + none; };
      Vec highest = logit(0);
      for (int r = LANES; r < padded; r += LANES) highest = logit(r) > highest ? logit(r) : highest;
      store(lanes, highest);
      const float top = *std::max_element(lanes, lanes + LANES);
      Vec total = {};
      for (int r = 0; r < padded; r += LANES) {
        const Vec power = exponential(logit(r) - top);
        total += power;
        store(own + r, power);
      }
      store(lanes, total);
      sums[i] = 0;
      for (int lane = 0; lane < LANES; ++lane) sums[i] += lanes[lane];
    }
    for (int p = 0; p < l.width; p += LANES) {
      Vec found[TOGETHER];
      weighted(weights + 1, padded, l.table + p, l.width, l.radii - 1, found);
      for (int i = 0; i < std::min(TOGETHER, l.columns - x); ++i)
        store(l.output.data + (y - l.start) * l.output.row + (x + i) * l.output.pixel + p, found[i] / sums[i]);
    }
  }
}

// basis^T (enlarged looked-up coordinates + step * residual), and 1 for the delta. A pixel's residual has the coordinates
// of one of its stem x stem pixels after those of another.
struct Coefficients {
  Source looked_up, residual;
  Planes output;
  const float* basis;  // coordinates x width
  std::int32_t start, stop, columns, coordinates, count, width, stem;
  float step;
};

// COUNT planes of coefficients, from k on, of a strip of pixels.
template <int COUNT>
static void strip_of_coefficients(const Coefficients& c, const float* coordinates, int k, float* to, std::int64_t plane) {
  constexpr int VECS = STRIP / LANES;
  Vec total[COUNT][VECS] = {};
  for (int p = 0; p < c.coordinates; ++p, coordinates += STRIP) {
    const float* basis = c.basis + p * c.width + k;
#pragma GCC unroll 4
    for (int i = 0; i < COUNT; ++i)
#pragma GCC unroll 4
      for (int v = 0; v < VECS; ++v) total[i][v] += basis[i] * load(coordinates + v * LANES);
  }
#pragma GCC unroll 4
  for (int i = 0; i < COUNT; ++i)
#pragma GCC unroll 4
    for (int v = 0; v < VECS; ++v) store(to + i * plane + v * LANES, k + i == 0 ? total[i][v] + 1.0f : total[i][v]);
}

template <int STEM>
static void coefficients_row(const Coefficients& c, int y) {
  constexpr int COUNT = 3;  // planes together
  const int padded = (c.coordinates + LANES - 1) / LANES * LANES;
  float* coordinates = scratch(padded * STRIP + padded + COUNT * STRIP);  // planes
  float *pixel = coordinates + padded * STRIP, *last = pixel + padded;
  const Enlarged enlarged(c.looked_up, y);
  for (int x = 0; x < c.columns; x += STRIP) {
    const int pixels = std::min(STRIP, c.columns - x);
    for (int i = 0; i < pixels; ++i) {
      const int column = x + i, phase = y % STEM * STEM + column % STEM;
      const float* residual = c.residual.at(y / STEM, column / STEM) + phase * c.coordinates;
      // the last vector reads numbers that follow, which do not matter
      if (STEM == 1) {
        const float* own = c.looked_up.at(y, column);
        for (int p = 0; p < padded; p += LANES) store(pixel + p, load(own + p) + c.step * load(residual + p));
      } else {
        const Corners corners = enlarged.at(column);
        for (int p = 0; p < padded; p += LANES) store(pixel + p, corners.vector(p) + c.step * load(residual + p));
      }
      for (int p = 0; p < c.coordinates; ++p) coordinates[p * STRIP + i] = pixel[p];
    }
    for (int k = 0; k < c.count; k += COUNT) {
      const int count = std::min(COUNT, c.count - k);
      float* to = c.output.data + k * c.output.plane + (y - c.start) * c.output.row + x;
      float* strip = pixels == STRIP ? to : last;
      const std::int64_t plane = pixels == STRIP ? c.output.plane : STRIP;
      (count == 3   ? strip_of_coefficients<3>
       : count == 2 ? strip_of_coefficients<2>
                    : strip_of_coefficients<1>)(c, coordinates, k, strip, plane);
      for (int i = 0; pixels < STRIP && i < count; ++i) std::copy_n(last + i * STRIP, pixels, to + i * c.output.plane);
    }
  }
}

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

void nrknet_join(const Join* join, std::int32_t threads) {
  const auto row = join->halves ? join_row<Half> : join_row<float>;
  pool().run(join->stop - join->start, threads, [&](int i) { row(*join, i); });
}

void nrknet_state(const State* s, std::int32_t threads) {
  pool().run(s->stop - s->start, threads, [&](int i) { state_row(*s, s->start + i); });
}

void nrknet_gate(const Gate* g, std::int32_t threads) {
  pool().run(g->stop - g->start, threads, [&](int i) { gate_row(*g, g->start + i); });
}

void nrknet_look_up(const LookUp* l, std::int32_t threads) {
  pool().run(l->stop - l->start, threads, [&](int i) { look_up_row(*l, l->start + i); });
}

void nrknet_coefficients(const Coefficients* c, std::int32_t threads) {
  const auto row = c->stem == 1 ? coefficients_row<1> : coefficients_row<2>;
  pool().run(c->stop - c->start, threads, [&](int i) { row(*c, c->start + i); });
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
