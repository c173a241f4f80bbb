// How much fine, middle and coarse detail there is around each pixel: `nrknet.layers.blur_evidence`.

#pragma once

#include "common.h"

struct Evidence {
  Planes image;  // 3 planes; data is that of row `held_first`
  Image output;  // rows [start, stop) at 1/stem of the resolution
  std::int32_t held_first, held_last, height, width;  // rows held, and the size of the whole level
  std::int32_t start, stop, stem, channel;
};

constexpr int BANDS = 4;

static int reflected(int i, int size) {
  if (size == 1) return 0;
  i = std::abs(i) % (2 * size - 2);
  return i < size ? i : 2 * size - 2 - i;
}

// One grey piece of a level and what of it is right: it shrinks with every smoothing, but not where the level ends.
struct Piece {
  int tall, wide, pitch;
  bool top, bottom, left, right;  // whether the level ends there
  int reach = 0;

  // [1, 2, 1] / 4 with taps `step` apart, both ways.
  void smooth(const float* from, float* to, float* between, int step) {
    reach += step;
    const int y0 = top ? 0 : reach, y1 = bottom ? tall : tall - reach;
    const int x0 = left ? 0 : reach, x1 = right ? wide : wide - reach;
    for (int y = y0; y < y1; ++y) {
      const float *above = from + reflected(y - step, tall) * pitch, *here = from + y * pitch,
                  *below = from + reflected(y + step, tall) * pitch;
      float* row = between + y * pitch;
      for (int x = 0; x < wide; ++x) row[x] = 0.25f * (above[x] + below[x]) + 0.5f * here[x];
    }
    const int inner0 = std::min(std::max(x0, step), x1), inner1 = std::max(std::min(x1, wide - step), inner0);
    for (int y = y0; y < y1; ++y) {
      const float* row = between + y * pitch;
      float* out = to + y * pitch;
      const auto edge = [&](int x) {
        out[x] = 0.25f * (row[reflected(x - step, wide)] + row[reflected(x + step, wide)]) + 0.5f * row[x];
      };
      for (int x = x0; x < inner0; ++x) edge(x);
      for (int x = inner0; x < inner1; ++x) out[x] = 0.25f * (row[x - step] + row[x + step]) + 0.5f * row[x];
      for (int x = inner1; x < x1; ++x) edge(x);
    }
  }
};

static void evidence_columns(const Evidence& e, int left, int right) {  // columns of the output
  constexpr int REACH = 24;
  const int stem = e.stem;
  const int x0 = std::max(0, left * stem - REACH), x1 = std::min(e.width, right * stem + REACH);
  Piece piece = {e.held_last - e.held_first, x1 - x0, (x1 - x0 + 15) / 16 * 16, e.held_first == 0,
                 e.held_last == e.height, x0 == 0, x1 == e.width};
  const std::ptrdiff_t size = static_cast<std::ptrdiff_t>(piece.tall) * piece.pitch;
  float* smooth = scratch(5 * size);
  float *smoother = smooth + size, *between = smoother + size, *energy = between + size, *pooled = energy + size;
  for (int y = 0; y < piece.tall; ++y) {
    const float* from = e.image.data + y * e.image.row + x0;
    for (int x = 0; x < piece.wide; ++x)
      smooth[y * piece.pitch + x] = (from[x] + from[e.image.plane + x] + from[2 * e.image.plane + x]) / 3.0f;
  }
  for (int band = 0; band < BANDS; ++band) {
    piece.smooth(smooth, smoother, between, 1 << band);
    // what is outside `reach` may be anything finite; it is cut away in the end
    for (int y = 0; y < piece.tall; ++y)
      for (int x = 0; x < piece.wide; ++x) {
        const float d = smooth[y * piece.pitch + x] - smoother[y * piece.pitch + x];
        energy[y * piece.pitch + x] = d * d;
      }
    Piece small = piece;
    const float* source = energy;
    if (stem == 2) {
      small.tall /= 2, small.wide /= 2, small.reach = (piece.reach + 1) / 2;
      for (int y = 0; y < small.tall; ++y) {
        const float *a = energy + 2 * y * piece.pitch, *b = a + piece.pitch;
        for (int x = 0; x < small.wide; ++x)
          pooled[y * piece.pitch + x] = 0.25f * ((a[2 * x] + a[2 * x + 1]) + (b[2 * x] + b[2 * x + 1]));
      }
      source = pooled;
    }
    small.smooth(source, energy, between, 1);
    small.smooth(energy, pooled, between, 2);
    const int rows = e.stop - e.start, above = e.start - e.held_first / stem;
    for (int y = 0; y < rows; ++y) {
      const float* from = pooled + (above + y) * piece.pitch + left - x0 / stem;
      float* to = e.output.data + y * e.output.row + left * e.output.pixel + e.channel + band;
      for (int x = 0; x < right - left; ++x) to[x * e.output.pixel] = (std::log(from[x] + 1e-6f) + 10.0f) / 3.0f;
    }
    std::swap(smooth, smoother);
  }
}

extern "C" void nrknet_evidence(const Evidence* e, std::int32_t threads) {
  constexpr int COLUMNS = 160;
  const int width = e->width / e->stem;
  const int pieces = (width + COLUMNS - 1) / COLUMNS, piece = (width + pieces - 1) / pieces;
  pool().run(pieces, threads, [&](int i) {
    const int left = i * piece, right = std::min(width, left + piece);
    if (left < right) evidence_columns(*e, left, right);
  });
}
