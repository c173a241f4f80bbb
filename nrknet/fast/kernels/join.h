// Several maps, or what is made of them, become the channels of one.

#pragma once

#include "sources.h"

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

extern "C" void nrknet_join(const Join* join, std::int32_t threads) {
  const auto row = join->halves ? join_row<Half> : join_row<float>;
  pool().run(join->stop - join->start, threads, [&](int i) { row(*join, i); });
}
